"""MGDA: Multiple-gradient descent algorithm (MGDA) for multiobjective optimization."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mtrl.balancing.base import Needs, Weighting
from mtrl.balancing.gramian import norms
from mtrl.balancing.methods._host_solve import solve_on_host
from mtrl.balancing.signals import Signals
from mtrl.balancing.solvers import min_norm_point


class MGDA(Weighting):
    """The shortest vector in the convex hull of the gradients: a descent direction for every task.

    Source: "Multiple-gradient descent algorithm (MGDA) for multiobjective optimization", Désidéri,
    Comptes Rendus Mathématique 350, 2012, https://doi.org/10.1016/j.crma.2012.03.014; "Multi-Task
    Learning as Multi-Objective Optimization", Sener and Koltun, NeurIPS 2018,
    https://arxiv.org/abs/1810.04650.
    Differs from released codes: an active-set method finds the exact point and its optimality gap
    (their iterations end with |d|^2 up to 98 % too large). With `normalise` d is the min-norm point of
    the normalised rows, as in LibMTL (other codes apply its weights to the original rows). The
    direction is not multiplied by m.
    State: none. Scale: weights sum to 1 (unless normalised); J -> s J gives d -> s d. It favours
    small gradients: if `g_1 . g_2 >= |g_1|^2` then d = g_1.
    Cost: the Gramian, O(m^4) at worst on the host.

    Args:
        normalise: divide the rows before the search by nothing (`none`), their norm (`l2`), their loss
            (`loss`), or the product of both (`loss+`).
    """

    needs = Needs.GRAMIAN
    capturable = False
    informed = "weights"
    paper = (
        '"Multiple-gradient descent algorithm (MGDA) for multiobjective optimization", '
        "Désidéri, Comptes Rendus Mathématique 350, 2012, "
        'https://doi.org/10.1016/j.crma.2012.03.014; "Multi-Task Learning as Multi-Objective '
        'Optimization", Sener and Koltun, NeurIPS 2018, https://arxiv.org/abs/1810.04650'
    )
    scale = "weights sum to 1"
    checked_against = "TorchJD, closed form (m = 2), authors' code"
    differs = "exact min-norm point, also of the normalised rows"

    def __init__(
        self,
        num_tasks: int,
        num_shared: int,
        *,
        seed: int = 0,
        normalise: Literal["none", "l2", "loss", "loss+"] = "none",
    ) -> None:
        super().__init__(num_tasks, num_shared, seed=seed)
        if normalise not in ("none", "l2", "loss", "loss+"):
            raise ValueError(f"`normalise` should be none, l2, loss or loss+. Found {normalise!r}.")
        self.normalise = normalise
        if normalise.startswith("loss"):
            self.needs = Needs.GRAMIAN | Needs.LOSSES
            self.positive_losses = True

    def task_weights(self, signals: Signals) -> Tensor:
        """Weights of the min-norm point, `[m]`; zero for a zero row."""
        gramian = signals.gramian
        scale = torch.ones(self.num_tasks, dtype=torch.float64, device=gramian.device)
        if self.normalise in ("l2", "loss+"):
            length = norms(gramian)
            scale = torch.where(length > 0, 1.0 / length.clamp_min(1e-300), 0.0)
        if self.normalise.startswith("loss"):
            scale = scale / signals.positive_losses
        scaled = gramian * scale[:, None] * scale[None, :]
        return scale * solve_on_host(self, scaled, min_norm_point)
