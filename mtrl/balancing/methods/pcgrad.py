"""PCGrad, projecting conflicting gradients: Gradient Surgery for Multi-Task Learning."""

from __future__ import annotations

from torch import Tensor

from mtrl.balancing.adjusted import AdjustedRows
from mtrl.balancing.base import Needs, Weighting
from mtrl.balancing.direction import Weights
from mtrl.balancing.gramian import cosines
from mtrl.balancing.methods._projections import project_conflicts, row_weights
from mtrl.balancing.methods._rng import CounterRandom
from mtrl.balancing.signals import Signals


class PCGrad(Weighting):
    """Project each gradient on the normal plane of every gradient that it conflicts with, and sum.

    Source: "Gradient Surgery for Multi-Task Learning", Yu et al., NeurIPS 2020,
    https://arxiv.org/abs/2001.06782, Algorithm 1.
    Differs from released codes: we work on the Gramian instead of the rows, with the same result up
    to rounding. Every task has its own random order; the generator belongs to the method's state.
    State: a counter. Scale: the plain sum if no gradients conflict; J -> s J gives d -> s d.
    Cost: the Gramian, O(m^3) in m steps.
    """

    needs = Needs.GRAMIAN
    informed = "weights"
    paper = (
        '"Gradient Surgery for Multi-Task Learning", Yu et al., NeurIPS 2020, '
        "https://arxiv.org/abs/2001.06782"
    )
    scale = "the sum if nothing conflicts"
    checked_against = "TorchJD with the same order, released code"
    differs = "works on the Gramian instead of the rows"

    def __init__(self, num_tasks: int, num_shared: int, *, seed: int = 0) -> None:
        super().__init__(num_tasks, num_shared, seed=seed)
        self.random = CounterRandom(seed)

    def task_weights(self, signals: Signals) -> Weights:
        """Weights of the sum of the projected gradients, `[m]`."""
        order = self.random.permutations(self.num_tasks, self.num_tasks)
        rows = project_conflicts(signals.gramian, order)
        adjusted = None
        if signals.diagnose:
            adjusted = AdjustedRows.combined(cosines(signals.gramian), rows)
        weights = row_weights(signals.gramian, self.rescaled(rows, signals.gramian))
        return Weights(weights, adjusted)

    def rescaled(self, rows: Tensor, gramian: Tensor) -> Tensor:
        """The projected unit rows `[m, m]` as they enter the sum; subclasses may rescale them."""
        return rows
