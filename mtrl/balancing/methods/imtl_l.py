"""IMTL-L: impartial learning of loss scales."""

from __future__ import annotations

import torch
from torch import Tensor

from mtrl.balancing.base import Needs, Weighting
from mtrl.balancing.methods._adam import Adam
from mtrl.balancing.signals import Signals


class LossScales(Adam):
    """The learned log-scales s of IMTL-L: minimise `sum_i exp(s_i) loss_i - s_i`.

    Args:
        num_tasks: m.
        learning_rate: of s.
        limit: largest absolute value of s; unbounded scales are known to overflow.
    """

    def __init__(self, num_tasks: int, learning_rate: float, limit: float) -> None:
        super().__init__(num_tasks, learning_rate)
        if limit <= 0:
            raise ValueError(f"`limit` should be positive. Found {limit}.")
        self.limit = limit
        self.log_scale: Tensor
        self.register_buffer("log_scale", torch.zeros(num_tasks, dtype=torch.float64))

    def advance(self, losses: Tensor) -> Tensor:
        """The scales `exp(s)`, `[m]`, before a step on these losses."""
        scale = torch.exp(self.log_scale)
        self.descend(self.log_scale, (scale * losses - 1.0).clamp(-1e100, 1e100))
        self.log_scale.clamp_(-self.limit, self.limit)
        return scale


class IMTLL(Weighting):
    """Learn scales that bring every loss to 1, without favouring a task.

    Source: "Towards Impartial Multi-task Learning", Liu et al., ICLR 2021,
    https://openreview.net/forum?id=IMPnRXEWpvr, equation 8, base e.
    Differs from released code: s has an Adam of its own inside the method's state, and is bounded.
    State: s `[m]` and its moments. Scale: at the optimum `w_i loss_i = 1`.
    Cost: one plain backward pass.

    Args:
        learning_rate: of s.
        limit: largest absolute value of s.
    """

    needs = Needs.LOSSES
    positive_losses = True
    weighs_losses = True
    informed = "weights"
    paper = (
        '"Towards Impartial Multi-task Learning", Liu et al., ICLR 2021, '
        "https://openreview.net/forum?id=IMPnRXEWpvr"
    )
    scale = "w_i loss_i = 1 at the optimum"
    checked_against = "fixed points, released code"
    differs = "s is bounded"

    def __init__(
        self,
        num_tasks: int,
        num_shared: int,
        *,
        seed: int = 0,
        learning_rate: float = 0.025,
        limit: float = 10.0,
    ) -> None:
        super().__init__(num_tasks, num_shared, seed=seed)
        self.scales = LossScales(num_tasks, learning_rate, limit)

    def task_weights(self, signals: Signals) -> Tensor:
        """`exp(s)`, `[m]`, before this step's update of s."""
        return self.scales.advance(signals.positive_losses)
