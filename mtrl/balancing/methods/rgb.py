"""RGB: Preserving Gradient Harmony: A Rotation-Based Gradient Balancing for Multi-Task Conflict
Remedy.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mtrl.balancing.adjusted import AdjustedRows
from mtrl.balancing.base import Aggregator, Needs
from mtrl.balancing.direction import Direction
from mtrl.balancing.gramian import cosines, norms
from mtrl.balancing.rotations import angle_errors, angle_gradient, coefficients
from mtrl.balancing.signals import Signals


class RGB(Aggregator):
    """Rotate each unit gradient towards a moving average d of their mean, and average the results.

    Here d `[n]` is the moving average, not the direction. u_i is the unit gradient of task i, and w_i
    the unit vector along the part of d that is orthogonal to u_i. The rotated gradients are
    `r_i = cos(alpha_i) u_i + sin(alpha_i) w_i`. The angles alpha_i start at 0 and take a few gradient
    steps on the mean conflict of the r_i plus `proximity_weight` times their mean distance from the
    u_i.

    Source: "Preserving Gradient Harmony: A Rotation-Based Gradient Balancing for Multi-Task
    Conflict Remedy", OpenReview, 2025, https://openreview.net/forum?id=l0QAezg8HX, Algorithm 1, and
    equation 2 for Adaptive RGB; no public code.
    Differs from the paper: the inner loop runs on the Gramian of the rows and d, which is exact. The
    paper does not print these choices, which are ours: the inner step size is 0.1, the interval 1,
    `spread_scale` 0.1, with 5 to 50 adaptive steps; d starts at 0; the spread of the changes of the
    losses is the population standard deviation; the number of adaptive steps is rounded to the
    nearest integer; a NaN spread takes the most steps; a change of a loss is divided by the absolute
    value of the loss. The inner step size decides the result: 5 to 50 steps of 0.1 turn ten tasks by
    a few degrees at most but two tasks by up to 50 degrees, and the published Proximities mean 0.5 to
    11 degrees.
    No descent guarantee: the paper's theorem that every task descends fails in general. The gradients
    (1, 0.3, 0), (1, -0.3, 0) and (-1, 0, 0.3) have a common descent direction, but the result opposes
    the third. The cosine between them is -0.83 without inner steps, -0.53 after 30 steps and -0.47 at
    the best angles.
    State: d `[n]`, the last losses `[m]`, the number of steps. Scale: the direction has length at
    most 1; scaling gradients changes nothing.
    Cost: the Gramian, m products with d, O(m^2) per inner step.

    Args:
        decay: mu, decay of the moving average d.
        inner_steps: number of gradient steps on the angles; 5, 30 or 50 in the paper, depending on the
            problem. With 0 the result is the mean of the unit gradients.
        inner_rate: step size of these steps.
        proximity_weight: lambda.
        interval: steps between rotations.
        adaptive: choose the number of inner steps from the spread of the relative changes of the losses.
        min_steps: fewest adaptive inner steps.
        max_steps: most adaptive inner steps.
        spread_scale: k_std, the spread at which the number of steps is half-way between both ends.
    """

    needs = Needs.GRAMIAN | Needs.PRODUCTS
    refusal = "it averages rotated unit gradients and has no weights that omega could multiply"
    paper = (
        '"Preserving Gradient Harmony: A Rotation-Based Gradient Balancing for Multi-Task '
        'Conflict Remedy", OpenReview, 2025, https://openreview.net/forum?id=l0QAezg8HX'
    )
    scale = "|d| <= 1"
    checked_against = "its algorithm on the rows, with autograd"
    differs = "inner loop on the Gramian; inner rate 0.1 is our choice"

    def __init__(
        self,
        num_tasks: int,
        num_shared: int,
        *,
        seed: int = 0,
        decay: float = 0.9,
        inner_steps: int = 30,
        inner_rate: float = 0.1,
        proximity_weight: float = 0.0,
        interval: int = 1,
        adaptive: bool = False,
        min_steps: int = 5,
        max_steps: int = 50,
        spread_scale: float = 0.1,
    ) -> None:
        super().__init__(num_tasks, num_shared, seed=seed)
        if not 0 <= decay < 1:
            raise ValueError(f"`decay` should be in [0, 1). Found {decay}.")
        if inner_steps < 0 or not 0 <= min_steps <= max_steps:
            raise ValueError(
                "`inner_steps` should not be negative, and `min_steps` at most `max_steps`. Found"
                f" {inner_steps}, {min_steps}, {max_steps}."
            )
        if inner_rate <= 0 or spread_scale <= 0:
            raise ValueError(
                f"`inner_rate` and `spread_scale` should be positive. Found {inner_rate},"
                f" {spread_scale}."
            )
        if proximity_weight < 0:
            raise ValueError(
                f"`proximity_weight` should not be negative. Found {proximity_weight}."
            )
        if interval < 1:
            raise ValueError(f"`interval` should be at least 1 step. Found {interval}.")
        self.decay = decay
        self.inner_steps = inner_steps
        self.inner_rate = inner_rate
        self.proximity_weight = proximity_weight
        self.interval = interval
        self.adaptive = adaptive
        self.min_steps = min_steps
        self.max_steps = max_steps
        self.spread_scale = spread_scale
        if adaptive:
            self.needs = Needs.GRAMIAN | Needs.PRODUCTS | Needs.LOSSES
        self.reference: Tensor
        self.last_losses: Tensor
        self.steps: Tensor
        self.register_buffer("reference", torch.zeros(num_shared))
        self.register_buffer("last_losses", torch.zeros(num_tasks, dtype=torch.float64))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def direction(self, signals: Signals) -> Direction:
        """The mean of the rotated unit gradients, `[n]`."""
        gramian, gradients = signals.gramian, signals.gradients
        length = norms(gramian)
        alive = length > 0
        inverse = torch.where(alive, 1.0 / length.clamp_min(1e-300), 0.0)
        cosine = cosines(gramian)
        count = alive.sum().clamp_min(1)

        # y / |y|, where y is the mean of the unit gradients. Its length follows from the cosines.
        total = (alive.double() @ cosine @ alive.double()).clamp_min(0.0).sqrt()
        mean_weights = torch.where(total > 1e-7, inverse / total.clamp_min(1e-300), 0.0)
        mean_unit = gradients.combine(mean_weights)
        self.reference.lerp_(mean_unit.to(self.reference.dtype), 1.0 - self.decay)
        reference = self.reference.to(mean_unit.dtype)

        product = gradients.dot(reference) * inverse
        square = reference.double().square().sum()
        angles = self._angles(cosine, product, square, alive, self._inner_steps(signals))
        own, shared, _ = coefficients(angles, product, square, alive)
        # Renormalise: rows parallel to d have no orthogonal part and keep their unit gradient.
        size = (own**2 + 2.0 * own * shared * product + shared**2 * square).clamp_min(1e-300).sqrt()
        own, shared = own / size, shared / size
        self.steps += 1
        self.metrics.update(
            angle_mean=torch.where(alive, angles, 0.0).sum() / count,
            angle_max=angles.amax(),
            angles=angles,
        )
        adjusted = None
        if signals.diagnose:
            adjusted = _rotated(cosine, product, square, own, shared)
            errors = angle_errors(angles, cosine, product, square, self.proximity_weight)
            self.metrics.update(errors)
        rotated = gradients.combine(own * inverse / count)
        direction = rotated + (shared.sum() / count).to(rotated.dtype) * reference
        return Direction(gradients.split(direction), adjusted=adjusted)

    def _inner_steps(self, signals: Signals) -> Tensor:
        """The number of inner steps at this step; zero between rotations."""
        steps = torch.full_like(self.steps, self.inner_steps)
        if self.adaptive:
            losses = signals.losses.double()
            known = self.steps > 0
            change = (losses - self.last_losses) / (self.last_losses.abs() + 1e-8)
            spread = torch.where(known, change.std(correction=0), 0.0)
            share = spread / (spread + self.spread_scale)
            share = share.nan_to_num(nan=1.0)
            steps = (self.min_steps + (self.max_steps - self.min_steps) * share).round().long()
            self.last_losses.copy_(losses)
        steps = torch.where(self.steps % self.interval == 0, steps, 0)
        self.metrics["inner_steps"] = steps
        return steps

    def _angles(
        self, cosine: Tensor, product: Tensor, square: Tensor, alive: Tensor, steps: Tensor
    ) -> Tensor:
        angles = torch.zeros_like(product)
        # For CUDA graphs all steps are computed; those past `steps` change nothing.
        for step in range(self.max_steps if self.adaptive else self.inner_steps):
            gradient = angle_gradient(angles, cosine, product, square, alive, self.proximity_weight)
            moved = (angles - self.inner_rate * gradient).clamp(0.0, 0.5 * math.pi)
            angles = torch.where(step < steps, moved, angles)
        return angles


def _rotated(
    cosine: Tensor, product: Tensor, square: Tensor, own: Tensor, shared: Tensor
) -> AdjustedRows:
    """The rows `own_i u_i + shared_i d`."""
    last = torch.cat([product, square[None]])
    inner = torch.cat([torch.cat([cosine, product[:, None]], 1), last[None]])
    return AdjustedRows.combined(inner, torch.cat([torch.diag(own), shared[:, None]], 1))
