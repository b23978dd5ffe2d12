"""The answer of a solver, and the scaling that all solvers share."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

ZERO_ROW = 1e-12  # a norm below this share of the largest counts as zero


@dataclass(frozen=True)
class Solution:
    """A solver's answer.

    Attributes:
        weights: task weights, `[m]`, finite; zero for rows that the solver left out.
        status: `ok`: solved. `floor`: rounding prevents a better answer. `capped`: the tasks are so
            nearly opposed that the weights were bounded. `stationary`: no direction helps all tasks.
            `stalled`: no step or no iteration was left. `empty`: there is no row to balance.
        residual: largest relative violation of the optimality conditions, over the rows used.
        iterations: number of steps taken.
        rows: coefficients of the adjusted rows in the task gradients, `[m, m]`, if the weights are a
            sum over adjusted rows.
    """

    weights: Array
    status: str
    residual: float
    iterations: int
    rows: Array | None = None

    @property
    def failed(self) -> bool:
        """Whether to count this answer as a failure of the solver."""
        return self.status not in ("ok", "floor")


def scaled_cosines(gramian: Array) -> tuple[NDArray[np.intp], Array, Array]:
    """Select the usable rows of a Gramian, and compute their norms and cosines.

    Returns:
        `(used, norms, cosines)`: the indices of the rows that are finite and not zero, `[k]`; their
        norms, `[k]`; their cosines with a unit diagonal, `[k, k]`. No row is used if an inner product
        is not finite.
    """
    square = gramian.diagonal()
    squares = square.tolist()  # Python is faster than numpy on so few numbers
    if math.isfinite(sum(squares)) and min(squares) > ZERO_ROW**2 * max(squares):
        used = np.arange(len(gramian))
    else:
        used = (np.isfinite(square) & (square > 0.0)).nonzero()[0]
        used = used[square[used] > ZERO_ROW**2 * square[used].max(initial=0.0)]
        gramian = gramian[np.ix_(used, used)]
        square = gramian.diagonal()
    norms = np.sqrt(square)
    scale = 1.0 / norms
    cosines = gramian * scale * scale[:, None]
    if not math.isfinite(cosines.sum()):
        return used[:0], norms[:0], cosines[:0, :0]
    np.minimum(cosines, 1.0, out=cosines)
    np.maximum(cosines, -1.0, out=cosines)
    cosines.flat[:: len(used) + 1] = 1.0
    return used, norms, cosines
