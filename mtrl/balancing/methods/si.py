"""SI, scale-invariant loss: the sum of the logarithms of the losses."""

from __future__ import annotations

from torch import Tensor

from mtrl.balancing.base import Needs, Weighting
from mtrl.balancing.signals import Signals


class SI(Weighting):
    """Minimise `sum_i log loss_i`: the weight of a task is the inverse of its loss.

    Source: the scale-invariant baseline of "Multi-Task Learning as a Bargaining Game", Navon et
    al., ICML 2022, https://arxiv.org/abs/2202.01017, section 6.
    Differs from the released code: a loss below 1e-12 counts as 1e-12 instead of giving infinity.
    State: none. Scale: `w_i loss_i = 1`; multiplying a loss by a constant does not change the direction.
    Cost: one plain backward pass.
    """

    needs = Needs.LOSSES
    positive_losses = True
    weighs_losses = True
    informed = "weights"
    paper = (
        'scale-invariant baseline of "Multi-Task Learning as a Bargaining Game", Navon et '
        "al., ICML 2022, https://arxiv.org/abs/2202.01017"
    )
    scale = "w_i loss_i = 1"
    checked_against = "by hand, authors' code"
    differs = "a loss below 1e-12 counts as 1e-12"

    def task_weights(self, signals: Signals) -> Tensor:
        """Inverse losses, `[m]`."""
        return 1.0 / signals.positive_losses
