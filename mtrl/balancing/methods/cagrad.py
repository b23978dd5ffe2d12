"""CAGrad: Conflict-Averse Gradient Descent for Multi-task Learning."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from mtrl.balancing.base import Needs, Weighting
from mtrl.balancing.methods._host_solve import solve_on_host
from mtrl.balancing.signals import Signals
from mtrl.balancing.solvers import conflict_averse


class CAGrad(Weighting):
    """Maximise the improvement of the worst task, at a bounded distance from the mean gradient.

    d maximises `min_i g_i . d` subject to `|d - g_0| <= c |g_0|`, where g_0 is the mean gradient.

    Source: "Conflict-Averse Gradient Descent for Multi-task Learning", Liu et al., NeurIPS 2021,
    https://arxiv.org/abs/2110.14048, equation 3.
    Differs from released codes: an active-set search finds the exact solution and returns a duality
    gap (their sequential quadratic programming is up to 44 % off for tiny gradients); the direction
    is not multiplied by m. If the mean gradient is Pareto-stationary, d is the mean.
    State: none. Scale: about the mean gradient; J -> s J gives d -> s d. radius 0 is the mean.
    Cost: the Gramian, a few active-set solves on the host.

    Args:
        radius: c; 0.5 in the paper and for RL, 0.4 on NYUv2 and Cityscapes.
        rescale: divide d by `1 + c^2` (`square`, as in the released code), by `1 + c` (`linear`), or
            not at all (`none`).
    """

    needs = Needs.GRAMIAN
    capturable = False
    informed = "weights"
    paper = (
        '"Conflict-Averse Gradient Descent for Multi-task Learning", Liu et al., NeurIPS '
        "2021, https://arxiv.org/abs/2110.14048"
    )
    scale = "about that of the mean"
    checked_against = "TorchJD, scipy's SLSQP, authors' code"
    differs = "exact solution; the mean gradient if that is Pareto-stationary"

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
        """Weights of d, `[m]`: 1/m plus the weights of the correction."""
        weights = solve_on_host(self, signals.gramian, lambda m: conflict_averse(m, self.radius))
        factor = {"square": 1.0 + self.radius**2, "linear": 1.0 + self.radius, "none": 1.0}
        return weights / factor[self.rescale]
