"""IMTL-L: Towards Impartial Multi-task Learning; the part on losses."""

from __future__ import annotations

from torch import Tensor

from mtrl.balancing.base import Needs, Weighting
from mtrl.balancing.methods._learned_scale import LossScales
from mtrl.balancing.signals import Signals


class IMTLL(Weighting):
    """Learn scales exp(s_i) that bring every loss to 1.

    s minimises `sum_i exp(s_i) loss_i - s_i`.

    Source: "Towards Impartial Multi-task Learning", Liu et al., ICLR 2021,
    https://openreview.net/forum?id=IMPnRXEWpvr, equation 8, base e.
    Differs from released code: s is bounded, and its Adam belongs to the method's state.
    State: s `[m]` and its moments. Scale: at the optimum `w_i loss_i = 1`.
    Cost: one plain backward pass.

    Args:
        learning_rate: learning rate of s.
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
