"""IMTL-G: Towards Impartial Multi-task Learning; the part on gradients."""

from __future__ import annotations

from torch import Tensor

from mtrl.balancing.base import Needs, Weighting
from mtrl.balancing.methods._host_solve import solve_on_host
from mtrl.balancing.signals import Signals
from mtrl.balancing.solvers import equal_projections


class IMTLG(Weighting):
    """The direction whose projections on all unit gradients are equal.

    Source: "Towards Impartial Multi-task Learning", Liu et al., ICLR 2021,
    https://openreview.net/forum?id=IMPnRXEWpvr, equation 6, in the form `a ~ M^-1 |g|`. It is
    equal to the paper's form, which singles out the first task.
    Differs from released codes: dependent rows use the pseudo-inverse. If no such direction exists or
    the weights grow without bound, the answer is EDM's, and a failure is counted. Weights may be
    negative, as in the paper, but only down to a limit.
    State: none. Scale: weights sum to 1; J -> s J gives d -> s d; scaling one task's gradient
    leaves the direction unchanged. With two tasks it equals EDM.
    Cost: the Gramian, O(m^3) on the host.

    Args:
        negative_limit: scaled weights `a_i |g_i|` must not fall below minus this many times their
            mean.
    """

    needs = Needs.GRAMIAN
    capturable = False
    refusal = (
        "its weights may be negative, and a larger omega would then turn the"
        " update away from the task"
    )
    paper = (
        '"Towards Impartial Multi-task Learning", Liu et al., ICLR 2021, '
        "https://openreview.net/forum?id=IMPnRXEWpvr"
    )
    scale = "weights sum to 1"
    checked_against = "TorchJD, released code"
    differs = "EDM if no direction has equal projections"

    def __init__(
        self, num_tasks: int, num_shared: int, *, seed: int = 0, negative_limit: float = 10.0
    ) -> None:
        super().__init__(num_tasks, num_shared, seed=seed)
        if negative_limit < 0:
            raise ValueError(f"`negative_limit` should not be negative. Found {negative_limit}.")
        self.negative_limit = negative_limit

    def task_weights(self, signals: Signals) -> Tensor:
        """Weights, `[m]`; zero for a zero row."""
        return solve_on_host(
            self, signals.gramian, lambda m: equal_projections(m, self.negative_limit)
        )
