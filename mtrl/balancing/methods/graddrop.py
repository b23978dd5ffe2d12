"""GradDrop: Just Pick a Sign: Optimizing Deep Multitask Models with Gradient Sign Dropout."""

from __future__ import annotations

import torch

from mtrl.balancing.adjusted import AdjustedRows
from mtrl.balancing.base import Aggregator, Needs
from mtrl.balancing.direction import Direction
from mtrl.balancing.methods._rng import CounterRandom
from mtrl.balancing.signals import Signals


class GradDrop(Aggregator):
    """At each coordinate, draw a sign and keep only the gradient entries of that sign.

    The positive sign has probability `P = (1 + sum_i g_i / sum_i |g_i|) / 2`, the negative sign
    1 - P. The mean over draws is the plain sum.

    Source: "Just Pick a Sign: Optimizing Deep Multitask Models with Gradient Sign Dropout", Chen et
    al., NeurIPS 2020, https://arxiv.org/abs/2010.06808, Algorithm 1, on the shared parameters with
    `f` the identity.
    Differs from the paper: it works on parameters, not on activations, because per-task gradients
    of activations are orthogonal if tasks have their own inputs; the draws come from a counter that
    checkpoints save.
    State: a counter. Scale: J -> s J gives d -> s d.
    Cost: the matrix `[m, n]` and n random numbers.

    Args:
        leak: share of a dropped entry that is kept.
    """

    needs = Needs.MATRIX
    refusal = (
        "it chooses signs by chance at each coordinate and has no weights that omega could multiply"
    )
    paper = (
        '"Just Pick a Sign: Optimizing Deep Multitask Models with Gradient Sign Dropout", '
        "Chen et al., NeurIPS 2020, https://arxiv.org/abs/2010.06808"
    )
    scale = "the sum, on average over draws"
    checked_against = "TorchJD with the same draws, released code"
    differs = "works on parameters, not on activations"

    def __init__(
        self, num_tasks: int, num_shared: int, *, seed: int = 0, leak: float = 0.0
    ) -> None:
        super().__init__(num_tasks, num_shared, seed=seed)
        if not 0 <= leak <= 1:
            raise ValueError(f"`leak` should be in [0, 1]. Found {leak}.")
        self.leak = leak
        self.random = CounterRandom(seed)

    def direction(self, signals: Signals) -> Direction:
        """d, `[n]`; without a leak no coordinate mixes signs."""
        matrix = signals.gradients.matrix()
        size = matrix.abs().sum(0)
        purity = torch.where(size > 0, 0.5 * (1.0 + matrix.sum(0) / size), 0.5)
        draw = self.random.uniform(matrix.shape[1]).to(matrix.dtype)
        keep = torch.where(purity > draw, matrix > 0, matrix < 0)
        self.metrics["sign_purity"] = (2.0 * purity - 1.0).abs().mean()
        rows = torch.where(keep, matrix, self.leak * matrix)
        adjusted = AdjustedRows.of_matrix(rows, matrix) if signals.diagnose else None
        return Direction(signals.gradients.split(rows.sum(0)), adjusted=adjusted)
