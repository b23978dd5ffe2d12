"""RLW: Reasonable Effectiveness of Random Weighting: A Litmus Test for Multi-Task Learning."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from mtrl.balancing.base import Needs, Weighting
from mtrl.balancing.methods._rng import CounterRandom
from mtrl.balancing.signals import Signals


class RLW(Weighting):
    """Draw new random weights at every step. This is a control for all loss weightings.

    Source: "Reasonable Effectiveness of Random Weighting: A Litmus Test for Multi-Task Learning",
    Lin et al., TMLR 2022, https://arxiv.org/abs/2111.10603, softmax of normals; Dirichlet(1, ...,
    1) after "Uniform Loss vs. Specialized Optimization: A Comparative Analysis in Multi-Task
    Learning", Gama and Grassi, 2025, https://arxiv.org/abs/2505.10347.
    Differs from the released code: the random generator belongs to the method's state.
    State: a counter. Scale: weights sum to 1, so the mean step is 1/m of the plain sum's.
    Cost: one plain backward pass.

    Args:
        distribution: `normal`, the softmax of standard normal numbers, or `dirichlet`, the uniform
            distribution on the simplex, which has a larger variance.
    """

    needs = Needs.NOTHING
    weighs_losses = True
    informed = "weights"
    paper = (
        '"Reasonable Effectiveness of Random Weighting: A Litmus Test for Multi-Task '
        'Learning", Lin et al., TMLR 2022, https://arxiv.org/abs/2111.10603'
    )
    scale = "weights sum to 1"
    checked_against = "moments, authors' code"
    differs = "its own random generator; Dirichlet as an option"

    def __init__(
        self,
        num_tasks: int,
        num_shared: int,
        *,
        seed: int = 0,
        distribution: Literal["normal", "dirichlet"] = "normal",
    ) -> None:
        super().__init__(num_tasks, num_shared, seed=seed)
        if distribution not in ("normal", "dirichlet"):
            raise ValueError(
                f"`distribution` should be normal or dirichlet. Found {distribution!r}."
            )
        self.distribution = distribution
        self.random = CounterRandom(seed)

    def task_weights(self, signals: Signals) -> Tensor:
        """Random weights, `[m]`."""
        if self.distribution == "normal":
            return self.random.normal(self.num_tasks).softmax(0)
        exponentials = -self.random.uniform(self.num_tasks).log()
        return exponentials / exponentials.sum()
