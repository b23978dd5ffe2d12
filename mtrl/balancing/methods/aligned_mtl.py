"""Aligned-MTL: Independent Component Alignment for Multi-Task Learning."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mtrl.balancing.base import Needs, Weighting
from mtrl.balancing.direction import Weights
from mtrl.balancing.methods._host_solve import solve_for_rows
from mtrl.balancing.signals import Signals
from mtrl.balancing.solvers import Solution


class AlignedMTL(Weighting):
    """Replace the gradients by the nearest orthogonal ones of equal size, and sum them.

    M = V L V' is the eigendecomposition of the Gramian. The rows become `B J` with
    `B = sqrt(l) V L^(-1/2) V'`. Their Gramian is `l I` on the span of the gradients. The task weights
    are `B 1`.

    Source: "Independent Component Alignment for Multi-Task Learning", Senushkin et al., CVPR 2023,
    https://arxiv.org/abs/2305.19000, Algorithm 1.
    Differs from released codes: eigenvalues below float64 rounding are left out; `reduction: mean`
    gives TorchJD's scale. If all gradients are zero, the weights are 1, or 1/m with `mean`.
    State: none. Scale: for orthogonal rows of equal norm it is the plain sum; J -> s J gives
    d -> s d. If the rows are nearly dependent, the smallest eigenvalue is tiny, and so is the step.
    Cost: the Gramian, one eigendecomposition on the host.

    Args:
        component_scale: l is the smallest eigenvalue (`min`), their `median`, or their mean
            (`rmse`).
        reduction: `sum` or `mean` of the aligned rows.
    """

    needs = Needs.GRAMIAN
    capturable = False
    refusal = (
        "its weights may be negative, and a larger omega would then turn the"
        " update away from the task"
    )
    paper = (
        '"Independent Component Alignment for Multi-Task Learning", Senushkin et al., CVPR '
        "2023, https://arxiv.org/abs/2305.19000"
    )
    scale = "the sum for orthogonal equal rows"
    checked_against = "TorchJD (all three scales), authors' code"
    differs = "the sum of the aligned rows; `reduction: mean` is TorchJD's"

    def __init__(
        self,
        num_tasks: int,
        num_shared: int,
        *,
        seed: int = 0,
        component_scale: Literal["min", "median", "rmse"] = "min",
        reduction: Literal["sum", "mean"] = "sum",
    ) -> None:
        super().__init__(num_tasks, num_shared, seed=seed)
        if component_scale not in ("min", "median", "rmse"):
            raise ValueError(
                f"`component_scale` should be min, median or rmse. Found {component_scale!r}."
            )
        if reduction not in ("sum", "mean"):
            raise ValueError(f"`reduction` should be sum or mean. Found {reduction!r}.")
        self.component_scale = component_scale
        self.reduction = reduction

    def task_weights(self, signals: Signals) -> Weights:
        """`B 1`, or `B 1 / m`, `[m]`."""
        weights, rows = solve_for_rows(self, signals, lambda m: _align(m, self.component_scale))
        return Weights(weights / self.num_tasks if self.reduction == "mean" else weights, rows)


def _align(gramian: NDArray[np.float64], component_scale: str) -> Solution:
    m = len(gramian)
    trace = float(np.trace(gramian))
    if not np.isfinite(gramian).all() or not trace > 0:
        return Solution(np.zeros(m), "empty", 0.0, 0)
    values, vectors = np.linalg.eigh(gramian / trace)
    kept = values > values.max() * m * np.finfo(np.float64).eps
    values, vectors = values[kept], vectors[:, kept]
    pick = {"min": np.min, "median": _lower_median, "rmse": np.mean}
    level = float(pick[component_scale](values))
    transform = np.sqrt(level) * (vectors / np.sqrt(values)) @ vectors.T
    projector = transform @ (gramian / trace) @ transform / level
    residual = float(np.abs(projector - vectors @ vectors.T).max())
    # Rounding of the eigenvectors gives a zero row a weight of 1e-18.
    weights = np.where(gramian.diagonal() > 0.0, transform.sum(1), 0.0)
    return Solution(weights, "ok", residual, 0, transform)


def _lower_median(values: NDArray[np.float64]) -> float:
    return float(np.sort(values)[(len(values) - 1) // 2])  # as torch.median
