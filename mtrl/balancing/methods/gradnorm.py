"""GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep Multitask Networks."""

from __future__ import annotations

import torch
from torch import Tensor

from mtrl.balancing.base import Needs, Weighting
from mtrl.balancing.gramian import norms
from mtrl.balancing.methods._adam import Adam
from mtrl.balancing.signals import Signals


class GradNorm(Weighting):
    """Learn weights such that tasks that train slowly get a larger gradient norm.

    Minimises `sum_i |w_i n_i - target_i|` over w, where n_i is the norm of g_i. The target
    `mean(w n) r_i^alpha` is held constant. r_i is the loss of task i divided by its first loss, and
    then by the mean of these ratios over tasks.

    Source: "GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep Multitask
    Networks", Chen et al., ICML 2018, https://arxiv.org/abs/1711.02257, Algorithm 1.
    Differs from the paper: norms are those of the whole trunk, not of its last layer. Differs from
    public RL code: the first losses are kept (the code overwrites them at every step), and the weights
    are renormalised. Weights are at least 0.001.
    State: w `[m]` and its moments, the first losses `[m]`, whether they are known.
    Scale: weights sum to m. Cost: per-task gradients, although only their norms are used.

    Args:
        restoring_force: alpha; 1.5 in the paper, 0.12 in public MT10 code. 0 makes all norms equal.
        learning_rate: learning rate of w.
    """

    needs = Needs.LOSSES | Needs.GRAMIAN
    positive_losses = True
    weighs_losses = True
    informed = "weights"
    paper = (
        '"GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep Multitask '
        'Networks", Chen et al., ICML 2018, https://arxiv.org/abs/1711.02257'
    )
    scale = "weights sum to m"
    checked_against = "fixed points, released code"
    differs = "norms of the whole trunk, not of its last layer"

    def __init__(
        self,
        num_tasks: int,
        num_shared: int,
        *,
        seed: int = 0,
        restoring_force: float = 1.5,
        learning_rate: float = 0.025,
    ) -> None:
        super().__init__(num_tasks, num_shared, seed=seed)
        if restoring_force < 0:
            raise ValueError(f"`restoring_force` should not be negative. Found {restoring_force}.")
        self.restoring_force = restoring_force
        self.scales: Tensor
        self.first_losses: Tensor
        self.started: Tensor
        self.register_buffer("scales", torch.ones(num_tasks, dtype=torch.float64))
        self.register_buffer("first_losses", torch.ones(num_tasks, dtype=torch.float64))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))
        self.adam = Adam(num_tasks, learning_rate)

    def task_weights(self, signals: Signals) -> Tensor:
        """w, `[m]`, before this step's update."""
        losses, length = signals.positive_losses, norms(signals.gramian)
        self.first_losses.copy_(torch.where(self.started, self.first_losses, losses))
        self.started.fill_(True)
        weights = self.scales.clone()

        ratio = losses / self.first_losses
        pace = (ratio / ratio.mean()).clamp(1e-12, 1e12) ** self.restoring_force
        scaled = weights * length
        target = scaled.mean() * pace
        # Otherwise the sign of a rounding error would move the weights by a full Adam step.
        away = (scaled - target).abs() > 1e-9 * scaled.mean()
        relative = length / length.mean().clamp_min(1e-300)
        gradient = torch.where(away, relative * torch.sign(scaled - target), 0.0)
        self.adam.descend(self.scales, gradient)
        self.scales.clamp_(min=1e-3)
        self.scales.mul_(self.num_tasks / self.scales.sum())
        return weights
