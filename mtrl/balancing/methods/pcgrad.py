"""PCGrad: projecting conflicting gradients."""

from __future__ import annotations

from torch import Tensor

from mtrl.balancing.adjusted import AdjustedRows
from mtrl.balancing.base import Needs, Weighting
from mtrl.balancing.gramian import cosines
from mtrl.balancing.methods._projections import project_conflicts, row_weights
from mtrl.balancing.methods._rng import CounterRandom
from mtrl.balancing.signals import Signals


class PCGrad(Weighting):
    """Each gradient loses its component against every other that it conflicts with; the rest is
    summed.

    Source: "Gradient Surgery for Multi-Task Learning", Yu et al., NeurIPS 2020,
    https://arxiv.org/abs/2001.06782, Algorithm 1.
    Differs from released codes: it works on coefficients and the Gramian, which is the same to
    rounding; every task has its own random order, from the method's own checkpointed generator.
    State: a counter. Scale: the plain sum where nothing conflicts; J -> s J gives d -> s d.
    Cost: the Gramian, O(m^3) in m steps.
    """

    needs = Needs.GRAMIAN
    informed = "weights"
    paper = (
        '"Gradient Surgery for Multi-Task Learning", Yu et al., NeurIPS 2020, '
        "https://arxiv.org/abs/2001.06782"
    )
    scale = "the sum without conflict"
    checked_against = "TorchJD, same order, released code"
    differs = "coefficients instead of rows"

    def __init__(self, num_tasks: int, num_shared: int, *, seed: int = 0) -> None:
        super().__init__(num_tasks, num_shared, seed=seed)
        self.random = CounterRandom(seed)

    def task_weights(self, signals: Signals) -> Tensor:
        """Sums of the projection coefficients, `[m]`."""
        order = self.random.permutations(self.num_tasks, self.num_tasks)
        rows = project_conflicts(signals.gramian, order)
        if signals.record:
            self.adjusted = AdjustedRows.combined(cosines(signals.gramian), rows)
        return row_weights(signals.gramian, self.rescaled(rows, signals.gramian))

    def rescaled(self, rows: Tensor, gramian: Tensor) -> Tensor:
        """The projected unit rows `[m, m]` as they enter the sum: here unchanged."""
        return rows
