"""GradVac: Gradient Vaccine: Investigating and Improving Multi-task Optimization in Massively
Multilingual Models.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mtrl.balancing.adjusted import AdjustedRows
from mtrl.balancing.base import Needs, Weighting
from mtrl.balancing.direction import Weights
from mtrl.balancing.gramian import cosines
from mtrl.balancing.methods._projections import row_weights, vaccinate
from mtrl.balancing.methods._rng import CounterRandom
from mtrl.balancing.signals import Signals


class GradVac(Weighting):
    """Turn each gradient towards every other until their cosine reaches a target rho.

    The target of a pair is the moving average of its cosine. With all targets fixed at zero GradVac
    is PCGrad.

    Source: "Gradient Vaccine: Investigating and Improving Multi-task Optimization in Massively
    Multilingual Models", Wang et al., ICLR 2021, https://arxiv.org/abs/2010.05874, Algorithm 1, for
    the whole trunk.
    Differs from released code: we work on the Gramian instead of the rows; cosines are clamped to
    [-1, 1], because a rounding error beyond 1 would give NaN; the decay is the paper's 0.01
    (LibMTL: 0.5).
    State: targets rho `[m, m]` and a counter. Scale: J -> s J gives d -> s d.
    Cost: the Gramian, O(m^4) in m steps.

    Args:
        decay: beta, weight of the newest cosine in the moving average.
    """

    needs = Needs.GRAMIAN
    informed = "weights"
    paper = (
        '"Gradient Vaccine: Investigating and Improving Multi-task Optimization in Massively '
        'Multilingual Models", Wang et al., ICLR 2021, https://arxiv.org/abs/2010.05874'
    )
    scale = "as PCGrad"
    checked_against = "PCGrad at decay 0, target cosine, released code"
    differs = "works on the whole trunk; the paper's decay"

    def __init__(
        self, num_tasks: int, num_shared: int, *, seed: int = 0, decay: float = 0.01
    ) -> None:
        super().__init__(num_tasks, num_shared, seed=seed)
        if not 0 <= decay <= 1:
            raise ValueError(f"`decay` should be in [0, 1]. Found {decay}.")
        self.decay = decay
        self.targets: Tensor
        self.register_buffer("targets", torch.zeros(num_tasks, num_tasks, dtype=torch.float64))
        self.random = CounterRandom(seed)

    def task_weights(self, signals: Signals) -> Weights:
        """Weights of the sum of the turned gradients, `[m]`."""
        order = self.random.permutations(self.num_tasks, self.num_tasks)
        rows, targets = vaccinate(signals.gramian, order, self.targets, self.decay)
        self.targets.copy_(targets)
        adjusted = None
        if signals.diagnose:
            adjusted = AdjustedRows.combined(cosines(signals.gramian), rows)
        return Weights(row_weights(signals.gramian, rows), adjusted)
