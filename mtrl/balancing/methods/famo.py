"""FAMO: Fast Adaptive Multitask Optimization."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mtrl.balancing.base import Needs, Weighting
from mtrl.balancing.methods._adam import Adam
from mtrl.balancing.signals import Signals


class FAMO(Weighting):
    """Weigh tasks so that all losses fall at the same relative rate, without per-task gradients.

    `w_i = (z_i / D_i) / sum_j (z_j / D_j)` with `z = softmax(logits)`, where D_i is the loss of task
    i minus its minimum. After the optimiser's step FAMO reads the losses on the same batch again. One
    Adam step on the logits then lowers those of the tasks that improved most.

    Source: "FAMO: Fast Adaptive Multitask Optimization", Liu et al., NeurIPS 2023,
    https://arxiv.org/abs/2306.03792, Algorithm 1.
    Differs from the released RL code: we divide by the normaliser (the code multiplies, so its step
    grows as 1 / loss^2), and the second reading uses the same noise and targets as the first.
    State: logits `[m]`, their moments, the log-losses before the step `[m]`, minima `[m]`.
    Scale: weights sum to 1. Cost: one plain backward pass and one more forward pass.

    Args:
        learning_rate: learning rate of the logits; 0.025, or 0.01 for RL.
        weight_decay: gamma; 0.001 on most problems, 0.01 on Cityscapes and in the RL script.
        min_losses: lowest reachable loss: one number for all tasks, or one for each.
    """

    needs = Needs.LOSSES | Needs.LOSSES_AFTER
    positive_losses = True
    weighs_losses = True
    refusal = (
        "it makes all losses fall at the same relative rate, and so takes omega back over the steps"
    )
    paper = (
        '"FAMO: Fast Adaptive Multitask Optimization", Liu et al., NeurIPS 2023, '
        "https://arxiv.org/abs/2306.03792"
    )
    scale = "weights sum to 1"
    checked_against = "torch's Adam on the paper's update, authors' code"
    differs = "divides by the normaliser (the RL release multiplies)"

    def __init__(
        self,
        num_tasks: int,
        num_shared: int,
        *,
        seed: int = 0,
        learning_rate: float = 0.025,
        weight_decay: float = 1e-3,
        min_losses: float | Sequence[float] = 0.0,
    ) -> None:
        super().__init__(num_tasks, num_shared, seed=seed)
        minima = torch.as_tensor(min_losses, dtype=torch.float64)
        if minima.dim() and len(minima) != num_tasks:
            raise ValueError(
                f"`min_losses` should be one number or one for each of {num_tasks} tasks. Found"
                f" {len(minima)}."
            )
        self.logits: Tensor
        self.log_before: Tensor
        self.min_losses: Tensor
        self.register_buffer("logits", torch.zeros(num_tasks, dtype=torch.float64))
        self.register_buffer("log_before", torch.zeros(num_tasks, dtype=torch.float64))
        self.register_buffer("min_losses", minima.expand(num_tasks).clone())
        self.adam = Adam(num_tasks, learning_rate, weight_decay=weight_decay)

    @classmethod
    def example_tasks(cls, options: dict[str, object]) -> int:
        """The number of minima, or 2 if there is one for all tasks."""
        minima = options.get("min_losses", 0.0)
        return len(minima) if isinstance(minima, Sequence) else 2

    def task_weights(self, signals: Signals) -> Tensor:
        """w, `[m]`; stores the losses for :meth:`observe_after`."""
        gap = self._gap(signals.losses)
        self.log_before.copy_(gap.log())
        share = self.logits.softmax(0) / gap
        return share / share.sum()

    @torch.no_grad()
    def observe_after(self, losses: Tensor) -> None:
        """One step of the logits on the change of the log-losses."""
        finite = torch.isfinite(losses)
        improvement = torch.where(finite, self.log_before - self._gap(losses).log(), 0.0)
        share = self.logits.softmax(0)
        self.adam.descend(self.logits, share * (improvement - share @ improvement))

    def _gap(self, losses: Tensor) -> Tensor:
        gap = (losses.detach().double() - self.min_losses).nan_to_num(nan=1.0)
        return gap.clamp(0.0, 1e100) + 1e-8
