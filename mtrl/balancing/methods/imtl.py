"""IMTL: Towards Impartial Multi-task Learning; both of its parts, IMTL-G and IMTL-L."""

from __future__ import annotations

from torch import Tensor

from mtrl.balancing.base import Needs, Weighting
from mtrl.balancing.methods._host_solve import solve_on_host
from mtrl.balancing.methods._learned_scale import LossScales
from mtrl.balancing.signals import Signals
from mtrl.balancing.solvers import equal_projections


class IMTL(Weighting):
    """Scale the losses by IMTL-L and balance their gradients by IMTL-G.

    Scaling a loss does not change the direction of IMTL-G, so the scales s only set the length of d.

    Source: "Towards Impartial Multi-task Learning", Liu et al., ICLR 2021,
    https://openreview.net/forum?id=IMPnRXEWpvr, Algorithm 1.
    Differs from released codes: as IMTL-G and IMTL-L do. IMTL-G's weights do not enter the update of
    the scales (as in LibMTL). LibMTL also multiplies the gradients of heads by `exp(s)`; here they
    are not scaled.
    State: s `[m]` and its moments. Scale: IMTL-G's weights of the scaled rows sum to 1.
    Cost: the Gramian, O(m^3) on the host.

    Args:
        learning_rate: learning rate of s.
        limit: largest absolute value of s.
        negative_limit: see IMTL-G.
    """

    needs = Needs.LOSSES | Needs.GRAMIAN
    positive_losses = True
    capturable = False
    refusal = (
        "its weights may be negative, and a larger omega would then turn the"
        " update away from the task"
    )
    paper = (
        '"Towards Impartial Multi-task Learning", Liu et al., ICLR 2021, '
        "https://openreview.net/forum?id=IMPnRXEWpvr"
    )
    scale = "as IMTL-G on scaled rows"
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
        negative_limit: float = 10.0,
    ) -> None:
        super().__init__(num_tasks, num_shared, seed=seed)
        if negative_limit < 0:
            raise ValueError(f"`negative_limit` should not be negative. Found {negative_limit}.")
        self.scales = LossScales(num_tasks, learning_rate, limit)
        self.negative_limit = negative_limit

    def task_weights(self, signals: Signals) -> Tensor:
        """Weights of the unscaled rows, `[m]`."""
        scale = self.scales.advance(signals.positive_losses)
        scaled = signals.gramian * scale[:, None] * scale[None, :]
        return scale * solve_on_host(
            self, scaled, lambda m: equal_projections(m, self.negative_limit)
        )
