"""MoCo: Mitigating Gradient Bias in Multi-objective Learning: A Provably Convergent Approach."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mtrl.balancing.adjusted import AdjustedRows
from mtrl.balancing.base import Aggregator, Needs
from mtrl.balancing.direction import Direction
from mtrl.balancing.gradients import TaskGradients
from mtrl.balancing.signals import Signals


class MoCo(Aggregator):
    """MGDA on moving averages of the gradients, one projected step at a time.

    Y `[m, n]` is the moving average of J, lambda `[m]` are the task weights:
    `Y <- Y - beta_t (Y - J)`, `lambda <- P(lambda - gamma_t (Y Y' + rho I) lambda)`,
    `d = Y' lambda`. P projects on the weights that are not negative and sum to 1.

    Source: "Mitigating Gradient Bias in Multi-objective Learning: A Provably Convergent Approach",
    Fernando et al., ICLR 2023, https://arxiv.org/abs/2210.12624, Algorithm 1. The step
    sizes beta_t and gamma_t start at LibMTL's values and decay as `t^-0.5`.
    Differs from LibMTL: as in the paper, Y averages the gradients themselves, and P is the projection
    on the simplex. `rows: loss` and `projection: softmax` are LibMTL's forms.
    State: Y `[m, n]`, lambda `[m]`, the number of steps. Scale: lambda sums to 1. The step of
    lambda is quadratic in the gradients, so the method depends on their scale.
    Cost: the matrix `[m, n]`, one moving average and one Gramian of it.

    Args:
        tracking_rate: beta at the first step.
        weight_rate: gamma at the first step.
        regularisation: rho.
        rows: what Y averages: the gradients (`raw`), or unit gradients times the absolute loss (`loss`).
        projection: `simplex` or `softmax`.
    """

    needs = Needs.MATRIX
    refusal = (
        "it follows moving averages, which may point away from the gradient"
        " that the lagging task has now"
    )
    paper = (
        '"Mitigating Gradient Bias in Multi-objective Learning: A Provably Convergent '
        'Approach", Fernando et al., ICLR 2023, https://arxiv.org/abs/2210.12624'
    )
    scale = "lambda sums to 1"
    checked_against = "MGDA in the limit, released code"
    differs = "the paper's rows and projection by default, not LibMTL's"

    def __init__(
        self,
        num_tasks: int,
        num_shared: int,
        *,
        seed: int = 0,
        tracking_rate: float = 0.5,
        weight_rate: float = 0.1,
        regularisation: float = 0.0,
        rows: Literal["raw", "loss"] = "raw",
        projection: Literal["simplex", "softmax"] = "simplex",
    ) -> None:
        super().__init__(num_tasks, num_shared, seed=seed)
        if not 0 < tracking_rate <= 1:
            raise ValueError(f"`tracking_rate` should be in (0, 1]. Found {tracking_rate}.")
        if weight_rate < 0 or regularisation < 0:
            raise ValueError(
                "`weight_rate` and `regularisation` should not be negative. Found"
                f" {weight_rate} and {regularisation}."
            )
        if rows not in ("raw", "loss"):
            raise ValueError(f"`rows` should be raw or loss. Found {rows!r}.")
        if projection not in ("simplex", "softmax"):
            raise ValueError(f"`projection` should be simplex or softmax. Found {projection!r}.")
        self.tracking_rate = tracking_rate
        self.weight_rate = weight_rate
        self.regularisation = regularisation
        self.rows = rows
        self.projection = projection
        if rows == "loss":
            self.needs = Needs.MATRIX | Needs.GRAMIAN | Needs.LOSSES
        self.tracked: Tensor
        self.mixture: Tensor
        self.steps: Tensor
        self.register_buffer("tracked", torch.zeros(num_tasks, num_shared))
        self.register_buffer(
            "mixture", torch.full((num_tasks,), 1.0 / num_tasks, dtype=torch.float64)
        )
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def direction(self, signals: Signals) -> Direction:
        """`Y' lambda`, `[n]`."""
        matrix = signals.gradients.matrix()
        if self.rows == "loss":
            length = signals.gramian.diagonal().clamp_min(0.0).sqrt()
            scale = torch.where(length > 0, signals.losses.abs() / length.clamp_min(1e-300), 0.0)
            matrix = matrix * scale.to(matrix.dtype)[:, None]
        self.steps += 1
        decay = self.steps.double() ** -0.5
        rate = (self.tracking_rate * decay).to(self.tracked.dtype)
        self.tracked.lerp_(matrix.to(self.tracked.dtype), rate)
        product = TaskGradients([self.tracked]).gramian() @ self.mixture
        step = self.weight_rate * decay * (product + self.regularisation * self.mixture)
        moved = self.mixture - step.nan_to_num()
        if self.projection == "softmax":
            self.mixture.copy_(moved.softmax(0))
        else:
            self.mixture.copy_(project_on_simplex(moved))
        weights = self.metrics["weights"] = self.mixture.clone()
        adjusted = AdjustedRows.of_matrix(self.tracked, matrix) if signals.diagnose else None
        direction = (self.mixture.to(self.tracked.dtype) @ self.tracked).to(matrix.dtype)
        return Direction(signals.gradients.split(direction), weights, adjusted)


def project_on_simplex(point: Tensor) -> Tensor:
    """The nearest point of the simplex (entries not negative, sum 1), `[m]`.

    Source: Held, Wolfe and Crowder, Mathematical Programming 6, 1974; the form that sorts the entries.
    """
    point = point - point.amax()  # a shift does not change the projection and avoids cancellation
    ordered = point.sort(descending=True).values
    count = torch.arange(1, len(point) + 1, dtype=point.dtype, device=point.device)
    shift = (ordered.cumsum(0) - 1.0) / count
    active = (ordered > shift).sum().clamp_min(1)
    return (point - shift.gather(0, (active - 1).view(1))).clamp_min(0.0)
