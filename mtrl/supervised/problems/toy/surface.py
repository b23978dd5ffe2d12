"""The two toy surfaces: losses, gradients in closed form, minima and the Pareto front.

Source: Liu et al., Conflict-Averse Gradient Descent (CAGrad), NeurIPS 2021, appendix, for
`one_optimum`; the SAM-GS paper for `two_optima`. Above the axis y = 0 lies a valley made of two
logarithms. There the task gradients conflict and differ in size. Below the axis lie two bowls with
different minima. One sign differs from the papers as printed: the second logarithm has
`+ tanh(-y)`, as all released code has it. Two papers print a minus.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from mtrl.errors import suggest

Point = tuple[float, float]

TASKS = ("left", "right")
_CAGRAD = ((-8.5, 7.5), (0.0, 0.0), (9.0, 9.0), (-7.5, -0.5), (9.0, -1.0))
_SAM_GS = (
    (-8.0, 5.0),
    (-3.0, 7.5),
    (0.0, 10.0),
    (3.0, 7.5),
    (8.0, 5.0),
    (-10.0, -2.5),
    (10.0, -2.5),
)
_SAM_GS_TWO = ((-3.5, 5.5), (3.5, 5.5), (-6.5, 2.5), (6.5, 2.5), (0.0, 10.0), (0.0, -8.0))
STARTS: dict[str, dict[str, tuple[Point, ...]]] = {
    "one_optimum": {"cagrad": _CAGRAD, "sam_gs": _SAM_GS},
    "two_optima": {"sam_gs": _SAM_GS_TWO},
}
"""Start points by surface and paper."""

_MINIMUM = {"one_optimum": -19.98943, "two_optima": -50.2938}  # of each unweighted loss
# FAMO's released toy subtracts (-21 alpha, -21). The bound for `two_optima` is ours.
_LOWER_BOUND = {"one_optimum": -21.0, "two_optima": -52.0}
_SIDES = torch.tensor([1.0, -1.0], dtype=torch.float64)  # of the left and of the right task
_LINES = -3.5 * _SIDES
_LEAST = 5e-6  # smallest argument of a logarithm


@dataclass(frozen=True)
class Surface:
    """Two losses in the plane, and the points from which methods descend.

    Attributes:
        name: `one_optimum` or `two_optima`, the number of optima of the sum of the losses.
        loss_weight: alpha; the first loss is alpha L1.
        starts: S start points.

    Raises:
        ValueError: the name is unknown, or the weight is not positive.
    """

    name: str = "one_optimum"
    loss_weight: float = 0.1
    starts: tuple[Point, ...] = _CAGRAD

    def __post_init__(self) -> None:
        if self.name not in STARTS:
            raise ValueError(
                f"`surface` should be {' or '.join(STARTS)}. Found {self.name!r}."
                f"{suggest(self.name, STARTS)}"
            )
        if self.loss_weight <= 0:
            raise ValueError(f"`loss_weight` should be positive. Found {self.loss_weight}.")

    @property
    def minima(self) -> tuple[float, float]:
        """The minimum of each loss."""
        return self.loss_weight * _MINIMUM[self.name], _MINIMUM[self.name]

    @property
    def lower_bounds(self) -> tuple[float, float]:
        """A bound below each loss, for methods that need positive losses."""
        return self.loss_weight * _LOWER_BOUND[self.name], _LOWER_BOUND[self.name]

    @cached_property
    def _scale(self) -> Tensor:
        return torch.tensor([self.loss_weight, 1.0], dtype=torch.float64)

    def losses(self, points: Tensor) -> Tensor:
        """Both losses at `points [..., 2]`, `[..., 2]`."""
        return self.differentiate(points)[0]

    def differentiate(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Both losses at `points [..., 2]`, `[..., 2]`, and their gradients, `[..., task, 2]`.

        The closed form is faster than automatic differentiation and gives the same values, also on
        the kinks: at y = 0, where the papers' start (0, 0) lies, and on the floor of the valley.
        """
        x, y = points[..., :1], points[..., 1:]
        upper, lower = torch.tanh(0.5 * y).clamp_min(0.0), torch.tanh(-0.5 * y).clamp_min(0.0)
        bowls, bowls_x, bowls_y = self._bowls(x, y)
        tanh = torch.tanh(y)
        line = -0.5 * x + _LINES + _SIDES * tanh
        size = line.abs()
        valley = size.clamp_min(_LEAST).log() + 6.0
        losses = self._scale * (valley * upper + bowls * lower)

        steepness = torch.where(size >= _LEAST, 1.0 / line, 0.0)  # of the logarithm
        upper_slope = 0.5 * (1.0 - upper**2) * (y >= 0)
        lower_slope = -0.5 * (1.0 - lower**2) * (y <= 0)
        along_x = -0.5 * steepness * upper + bowls_x * lower
        along_y = steepness * _SIDES * (1.0 - tanh**2) * upper + valley * upper_slope
        along_y = along_y + bowls_y * lower + bowls * lower_slope
        return losses, self._scale[:, None] * torch.stack([along_x, along_y], dim=-1)

    def _bowls(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The lower half of both losses, `[..., 2]`, and its derivatives by x and by y."""
        if self.name == "two_optima":
            values_x, slopes_x = _well(x, 5.45 * _SIDES, 5.5 * _SIDES)
            values_y, slopes_y = _well(y, _SIDES * 0.0, _SIDES * 0.0)
            return values_x + values_y + 1.5, slopes_x, slopes_y
        right, down = x - 7.0 * _SIDES, y + 8.0
        return (right**2 + 0.1 * down**2) / 10.0 - 20.0, 0.2 * right, 0.02 * down


def pareto_front(points: int = 201) -> Tensor:
    """The Pareto set of `one_optimum`, `[points, 2]`, for every loss weight.

    The set joins the minima of the two losses, at x = -7 and x = 7. Its y is -8.4345 at both ends
    and -8.3552 at x = 0; the parabola through these three points approximates the rest.
    """
    x = torch.linspace(-7.0, 7.0, points, dtype=torch.float64)
    return torch.stack([x, _ridge(x)], dim=-1)


def distance_to_front(point: Tensor) -> Tensor:
    """Distance of `point [..., 2]` from :func:`pareto_front`."""
    x, y = point[..., 0], point[..., 1]
    return torch.hypot((x.abs() - 7.0).clamp_min(0.0), y - _ridge(x.clamp(-7.0, 7.0)))


def _ridge(x: Tensor) -> Tensor:
    return -8.3552 - 0.0793 * (x / 7.0) ** 2


def _well(value: Tensor, wide: Tensor, narrow: Tensor) -> tuple[Tensor, Tensor]:
    """A sixth power around `wide` minus a quartic and a parabola around `narrow`; and its slope."""
    outer, inner = (value - wide) / 4.0, (value - narrow) / 4.0
    height = 0.1 * outer**6 - inner**4 - 1.5 * inner**2
    return height, 0.15 * outer**5 - inner**3 - 0.75 * inner
