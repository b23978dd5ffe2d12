"""Descend a toy surface from all start points at once.

The trainer of the other problems makes a batch, a model and a log record per step and copy. That
costs many times the arithmetic on two numbers, and the papers' toys take 50,000 steps from five starts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mtrl.balancing import Direction, Performance, Signals, Weights, build, method_class
from mtrl.balancing.base import GRADIENTS, Needs, Weighting
from mtrl.runs.nan_guard import TrainingError
from mtrl.supervised.problem import Recipe
from mtrl.supervised.problems.toy.surface import Surface


class Descent:
    """A balancing method descends a surface from S starts with Adam.

    All starts share one evaluation of the surface and one optimiser step, since Adam works element by
    element. Each start has its own copy of the method.

    Args:
        surface: the losses and the S starts.
        method: name of the balancing method.
        options: options of the method.
        recipe: learning rate, betas and weight decay of Adam.
        max_norm: bound on the norm of a method's direction; None means no bound. Loss weightings are
            never bounded: see `Toy`.
        seed: seed of every copy of the method.

    Attributes:
        points: current point of each start, `[S, 2]`.
        updates: number of steps done.
    """

    def __init__(
        self,
        surface: Surface,
        method: str,
        options: Mapping[str, object],
        recipe: Recipe,
        *,
        max_norm: float | None = None,
        seed: int = 0,
    ) -> None:
        self.surface = surface
        self.updates = 0
        self.points = nn.Parameter(torch.tensor(surface.starts, dtype=torch.float64))
        self.methods = [build(method, 2, 2, seed=seed, **options) for _ in surface.starts]
        self.optimizer = torch.optim.Adam(
            [self.points],
            recipe.learning_rate,
            betas=recipe.betas,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        needs = self.methods[0].needs
        self.max_norm = max_norm if needs & GRADIENTS else None
        self._looks_back = Needs.LOSSES_AFTER in needs
        self._informed = Needs.PERFORMANCE in needs
        self._minima = torch.tensor(surface.minima, dtype=torch.float64)
        self._shift = torch.zeros(2, dtype=torch.float64)
        if method_class(method).positive_losses:
            self._shift -= torch.tensor(surface.lower_bounds, dtype=torch.float64)

    @torch.no_grad()
    def step(self) -> tuple[Tensor, Tensor]:
        """Take one step from every start.

        Returns:
            The task gradients before the step, `[S, tasks, 2]`, and the directions, `[S, 2]`.

        Raises:
            TrainingError: a loss is not finite.
        """
        losses, rows = self.surface.differentiate(self.points.detach())
        if not math.isfinite(losses.sum().item() + rows.sum().item()):
            raise TrainingError(
                f"A loss or gradient is not finite after {self.updates} steps. Lower"
                " `recipe.learning_rate`, or set `balancing.max_grad_norm`, and start anew."
            )
        # The arithmetic of `TaskGradients.gramian`, for all starts in one product.
        gramians = torch.bmm(rows, rows.mT)
        gramians = (gramians + gramians.mT) / 2
        performance = 1.0 - (losses - self._minima) / self._minima.abs()
        shifted = losses + self._shift
        weights, directions = [], []
        for i, method in enumerate(self.methods):
            if self._looks_back and self.updates:
                method.observe_after(shifted[i])  # losses that the last step led to
            signals = Signals(
                losses=shifted[i],
                jacobian=rows[i],
                gramian=gramians[i],
                performance=Performance(performance[i]) if self._informed else None,
            )
            if isinstance(method, Weighting):
                weights.append(Weights.of(method.task_weights(signals)).values)
                method.metrics["weights"] = weights[-1]  # for the log
            else:
                answer = method.direction(signals)
                directions.append(Direction.of(answer, signals.gradients).flat())
        if weights:
            direction = torch.bmm(torch.stack(weights).to(rows)[:, None], rows)[:, 0]
        else:
            direction = torch.stack(directions).to(rows)
        if self.max_norm is not None:
            length = torch.linalg.vector_norm(direction, dim=1, keepdim=True)
            direction = direction * (self.max_norm / (length + 1e-6)).clamp_max(1.0)
        self.points.grad = direction
        self.optimizer.step()
        self.updates += 1
        return rows, direction

    def losses(self) -> Tensor:
        """Both losses at the current points, `[S, tasks]`."""
        return self.surface.losses(self.points.detach())

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "points": self.points.detach(),
            "optimizer": self.optimizer.state_dict(),
            "methods": [method.state_dict() for method in self.methods],
            "updates": self.updates,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned; a missing key is an error."""
        with torch.no_grad():
            self.points.copy_(state["points"])
        self.optimizer.load_state_dict(state["optimizer"])
        for method, saved in zip(self.methods, state["methods"], strict=True):
            method.load_state_dict(saved)
        self.updates = state["updates"]
