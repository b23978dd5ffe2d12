"""EDM: Follow the bisector: a simple method for multi-objective optimization."""

from __future__ import annotations

from torch import Tensor

from mtrl.balancing.base import Needs, Weighting
from mtrl.balancing.methods._host_solve import solve_on_host
from mtrl.balancing.signals import Signals
from mtrl.balancing.solvers import unit_min_norm


class EDM(Weighting):
    """MGDA on unit gradients: a direction with equal angles to the tasks, whatever their magnitudes.

    `a_i = (mu_i / |g_i|) / sum_j (mu_j / |g_j|)`, where mu are MGDA's weights of the unit gradients.

    Source: "Follow the bisector: a simple method for multi-objective optimization", Katrutsa et
    al., 2020, https://arxiv.org/abs/2007.06937, as restated by Gama and Grassi in "Uniform Loss vs.
    Specialized Optimization: A Comparative Analysis in Multi-Task Learning", 2025,
    https://arxiv.org/abs/2505.10347.
    Differs from the paper: only in that the min-norm point is exact. The authors' code
    (amkatrutsa/edm) was not compared.
    State: none. Scale: weights sum to 1; J -> s J gives d -> s d; scaling one task's gradient
    changes only the length of d. The angles to all tasks are equal if all mu are positive.
    Cost: the Gramian, O(m^4) at worst on the host.
    """

    needs = Needs.GRAMIAN
    capturable = False
    informed = "weights"
    paper = (
        '"Follow the bisector: a simple method for multi-objective optimization", Katrutsa et'
        " al., 2020, https://arxiv.org/abs/2007.06937"
    )
    scale = "weights sum to 1"
    checked_against = "IMTL-G (m = 2)"
    differs = "exact min-norm point; the authors' code was not compared"

    def task_weights(self, signals: Signals) -> Tensor:
        """Weights, `[m]`; zero for a zero row."""
        return solve_on_host(self, signals.gramian, unit_min_norm)
