"""UW: Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry and Semantics."""

from __future__ import annotations

import torch
from torch import Tensor

from mtrl.balancing.base import Needs, Weighting
from mtrl.balancing.methods._adam import Adam
from mtrl.balancing.signals import Signals


class UW(Weighting):
    """Learn the noise variance exp(s_i) of each task: minimise `sum_i (exp(-s_i) loss_i + s_i) / 2`.

    Source: "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry and
    Semantics", Kendall, Gal and Cipolla, CVPR 2018, https://arxiv.org/abs/1705.07115, equation 7
    with s = log sigma^2.
    Differs from the released code: the Adam of s belongs to the method's state (there s is a group of
    the model's optimiser); s is bounded by `limit`. Classification and regression losses have the same
    form; the paper's form for classification has no factor 1/2.
    State: s `[m]` and its moments. Scale: at the optimum `w_i loss_i = 1/2`. A negative loss has no
    optimum: its s falls to the bound. Therefore the method requires positive losses.
    Cost: one plain backward pass.

    Args:
        learning_rate: learning rate of s; 0.025 in released code for supervised problems, 0.01 for MT10.
        initial: initial value of s; 0, or -0.5 in LibMTL.
        limit: largest absolute value of s.
    """

    needs = Needs.LOSSES
    positive_losses = True
    weighs_losses = True
    informed = "weights"
    paper = (
        '"Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry and '
        'Semantics", Kendall, Gal and Cipolla, CVPR 2018, https://arxiv.org/abs/1705.07115'
    )
    scale = "w_i loss_i = 1/2 at the optimum"
    checked_against = "torch's Adam on the objective, released code"
    differs = "its own Adam; s is bounded"

    def __init__(
        self,
        num_tasks: int,
        num_shared: int,
        *,
        seed: int = 0,
        learning_rate: float = 0.025,
        initial: float = 0.0,
        limit: float = 10.0,
    ) -> None:
        super().__init__(num_tasks, num_shared, seed=seed)
        if abs(initial) > limit:
            raise ValueError(
                f"`limit` should be at least |initial|. Found limit={limit}, initial={initial}."
            )
        self.log_variance: Tensor
        self.register_buffer("log_variance", torch.full((num_tasks,), initial, dtype=torch.float64))
        self.adam = Adam(num_tasks, learning_rate, limit=limit)

    def task_weights(self, signals: Signals) -> Tensor:
        """`exp(-s) / 2`, `[m]`, before this step's update of s."""
        precision = torch.exp(-self.log_variance)
        gradient = 0.5 * (1.0 - precision * signals.losses.double().clamp(-1e300, 1e300))
        self.adam.descend(self.log_variance, gradient)
        return 0.5 * precision
