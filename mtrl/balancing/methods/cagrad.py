"""CAGrad: conflict-averse gradient descent."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from mtrl.balancing.base import Needs, Weighting
from mtrl.balancing.methods._host_solve import solve_on_host
from mtrl.balancing.signals import Signals
from mtrl.balancing.solvers import conflict_averse


class CAGrad(Weighting):
    """Near the mean gradient, the direction whose worst improvement over the tasks is largest.

    `max_d min_i g_i . d` subject to `|d - g_0| <= radius |g_0|`, with g_0 the mean.

    Source: "Conflict-Averse Gradient Descent for Multi-task Learning", Liu et al., NeurIPS 2021,
    https://arxiv.org/abs/2110.14048, equation 3.
    Differs from released codes: the level of the worst improvement is searched exactly over active
    sets, with a duality gap (their sequential quadratic programming is up to 44 % off on tiny
    gradients); no factor m. At a Pareto-stationary mean it returns the mean.
    State: none. Scale: about the mean gradient; J -> s J gives d -> s d. radius 0 is the mean.
    Cost: the Gramian, a few active-set solves on the host.

    Args:
        radius: c; 0.5 in the paper and for RL, 0.4 on NYUv2 and Cityscapes.
        rescale: divide d by `1 + c^2` (`square`, as the released code), `1 + c` (`linear`) or
            nothing.
    """

    needs = Needs.GRAMIAN
    capturable = False
    informed = "weights"
    paper = (
        '"Conflict-Averse Gradient Descent for Multi-task Learning", Liu et al., NeurIPS '
        "2021, https://arxiv.org/abs/2110.14048"
    )
    scale = "about the mean"
    checked_against = "TorchJD, scipy's SLSQP, authors' code"
    differs = "exact level search; the mean at a stationary point"

    def __init__(
        self,
        num_tasks: int,
        num_shared: int,
        *,
        seed: int = 0,
        radius: float = 0.5,
        rescale: Literal["square", "linear", "none"] = "square",
    ) -> None:
        super().__init__(num_tasks, num_shared, seed=seed)
        if radius < 0:
            raise ValueError(f"`radius` should not be negative. Found {radius}.")
        if rescale not in ("square", "linear", "none"):
            raise ValueError(f"`rescale` should be square, linear or none. Found {rescale!r}.")
        self.radius = radius
        self.rescale = rescale

    def task_weights(self, signals: Signals) -> Tensor:
        """Weights of d, `[m]`: 1/m plus the share of the correction."""
        weights = solve_on_host(self, signals.gramian, lambda m: conflict_averse(m, self.radius))
        factor = {"square": 1.0 + self.radius**2, "linear": 1.0 + self.radius, "none": 1.0}
        return weights / factor[self.rescale]
