"""Exact scalar versions of the helper functions that tasks find in their module's globals.

Each function has the signature of the function that it replaces. It handles the cases that tasks use
and calls the original for all others. The types of results are the same, too, because they decide how
later expressions are rounded.
"""

from __future__ import annotations

import math
import types
from typing import Any

import numpy as np
from metaworld.utils import reward_utils
from scipy.spatial.transform import Rotation

try:
    ufunc_clip = np._core.umath.clip  # type: ignore[attr-defined]
except AttributeError:  # numpy 1
    ufunc_clip = np.core.umath.clip  # type: ignore[attr-defined]

_FLOAT64 = np.dtype(np.float64)
_REAL = (float, np.float64)
_AT_MARGIN = reward_utils._DEFAULT_VALUE_AT_MARGIN
_LONG_TAIL_SCALE = float(np.sqrt(1 / _AT_MARGIN - 1))
_GAUSSIAN_SCALE = float(np.sqrt(-2 * np.log(_AT_MARGIN)))


def norm(
    x: Any,
    ord: Any = None,
    axis: Any = None,
    keepdims: bool = False,
) -> Any:
    """`numpy.linalg.norm`; fast for a scalar, and for one contiguous float64 vector."""
    if (
        type(x) is np.ndarray
        and x.ndim == 1
        and x.dtype is _FLOAT64
        and (ord is None or ord == 2)
        and axis is None
        and not keepdims
        and x.flags.c_contiguous
    ):
        # `dot` calls BLAS, as numpy does, so the rounding is the same.
        return np.float64(math.sqrt(x.dot(x)))
    if type(x) in _REAL and ord is None and axis is None and not keepdims:
        return np.float64(math.sqrt(float(x) * float(x)))
    return np.linalg.norm(x, ord, axis, keepdims)


def clip(a: Any, a_min: Any = None, a_max: Any = None, *args: Any, **kwargs: Any) -> Any:
    """`numpy.clip`; fast for floats with two bounds, for which numpy calls the same ufunc."""
    kind = type(a)
    if (
        not args
        and not kwargs
        and (
            kind is np.float32 or kind is np.float64 or (kind is np.ndarray and a.dtype.kind == "f")
        )
        and a_min is not None
        and a_max is not None
    ):
        return ufunc_clip(a, a_min, a_max)
    return np.clip(a, a_min, a_max, *args, **kwargs)


def clip_unit(a: Any) -> Any:
    """`numpy.clip(a, -1, 1)` of three numbers; most actions need no clipping."""
    if type(a) is np.ndarray:
        x, y, z = a.tolist()
        if -1 <= x <= 1 and -1 <= y <= 1 and -1 <= z <= 1:
            return a
    return ufunc_clip(a, -1, 1)


def copy(a: Any, *args: Any, **kwargs: Any) -> Any:
    """`numpy.copy`; fast for a contiguous array."""
    if type(a) is np.ndarray and not args and not kwargs and a.flags.c_contiguous:
        return a.copy()
    return np.copy(a, *args, **kwargs)


def tolerance(
    x: Any,
    bounds: tuple[Any, Any] = (0.0, 0.0),
    margin: Any = 0.0,
    sigmoid: Any = "gaussian",
    value_at_margin: float = _AT_MARGIN,
) -> Any:
    """`reward_utils.tolerance`; fast for a scalar and the sigmoids that tasks use."""
    if (
        type(x) in _REAL
        and type(margin) in _REAL
        and (sigmoid == "long_tail" or sigmoid == "gaussian")
        and value_at_margin == _AT_MARGIN
    ):
        lower, upper = bounds
        if lower <= upper and margin >= 0:
            value = float(x)
            if lower <= value <= upper:
                return 1.0
            if margin == 0:
                return 0.0
            distance = float(lower - value if value < lower else value - upper) / float(margin)
            try:
                # `**2` and not a product, because the original calls the C library's pow. `np.exp`
                # and not `math.exp`, because numpy has its own implementation.
                if sigmoid == "long_tail":
                    return 1 / ((distance * _LONG_TAIL_SCALE) ** 2 + 1)
                return float(np.exp(-0.5 * (distance * _GAUSSIAN_SCALE) ** 2))
            except OverflowError:
                pass  # numpy gives infinity where Python raises an error
    return reward_utils.tolerance(x, bounds, margin, sigmoid, value_at_margin)


class FastRotation:
    """`scipy.spatial.transform.Rotation` as tasks use it: from a matrix to a quaternion."""

    __slots__ = ("_quat",)

    def __init__(self, quat: np.ndarray) -> None:
        self._quat = quat

    @staticmethod
    def from_matrix(matrix: np.ndarray) -> Any:
        """The rotation of a 3x3 matrix; scipy's class if the matrix needs orthogonalisation."""
        quat = quaternion(matrix)
        return Rotation.from_matrix(matrix) if quat is None else FastRotation(quat)

    def as_quat(self) -> np.ndarray:
        """`(x, y, z, w)`, of unit length."""
        return self._quat


def quaternion(matrix: np.ndarray) -> np.ndarray | None:
    """Unit quaternion `(x, y, z, w)` of an orthonormal 3x3 matrix; None if scipy must compute it.

    The largest of the diagonal entries and the trace decides the formula; on ties the first. This choice
    and the order of the sum of squares are scipy's, so every bit agrees.
    """
    if matrix.shape != (3, 3) or matrix.dtype is not _FLOAT64:
        return None
    (a, b, c), (d, e, f), (g, h, i) = matrix.tolist()
    # scipy orthogonalises for errors above 1e-5 on the diagonal and 1e-12 off it; stay below.
    if not (
        abs(a * a + b * b + c * c - 1) < 9e-6
        and abs(d * d + e * e + f * f - 1) < 9e-6
        and abs(g * g + h * h + i * i - 1) < 9e-6
        and abs(a * d + b * e + c * f) < 5e-13
        and abs(a * g + b * h + c * i) < 5e-13
        and abs(d * g + e * h + f * i) < 5e-13
        and a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g) > 0
    ):
        return None
    trace = a + e + i
    if trace > a and trace > e and trace > i:
        x, y, z, w = h - f, c - g, d - b, 1 + trace
    elif a >= e and a >= i:
        x, y, z, w = 1 - trace + 2 * a, d + b, g + c, h - f
    elif e >= i:
        x, y, z, w = d + b, 1 - trace + 2 * e, h + f, c - g
    else:
        x, y, z, w = g + c, h + f, 1 - trace + 2 * i, d - b
    length = math.sqrt(x * x + y * y + z * z + w * w)
    return np.array([x / length, y / length, z / length, w / length])


def _copy_of(module: types.ModuleType, **replaced: Any) -> types.ModuleType:
    copied = types.ModuleType(module.__name__)
    copied.__dict__.update(vars(module))
    copied.__dict__.update(replaced)
    return copied


fast_numpy = _copy_of(np, linalg=_copy_of(np.linalg, norm=norm), clip=clip, copy=copy)
fast_reward_utils = _copy_of(reward_utils, tolerance=tolerance)

# Name in the globals of a task -> the original, and its replacement.
REPLACEMENTS: dict[str, tuple[Any, Any]] = {
    "np": (np, fast_numpy),
    "reward_utils": (reward_utils, fast_reward_utils),
    "tolerance": (reward_utils.tolerance, tolerance),
    "Rotation": (Rotation, FastRotation),
}
