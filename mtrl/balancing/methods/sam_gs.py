"""SAM-GS: Gradient Similarity Surgery in Multi-Task Deep Learning."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mtrl.balancing.adjusted import AdjustedRows
from mtrl.balancing.base import Aggregator, Needs
from mtrl.balancing.direction import Direction
from mtrl.balancing.gramian import norms
from mtrl.balancing.signals import Signals


class SAMGS(Aggregator):
    """Equalise the gradients if their magnitudes differ; otherwise weigh them by momentum.

    The magnitude similarity of a pair is `psi_ij = 2 |g_i||g_j| / (|g_i|^2 + |g_j|^2)`, and Psi is
    the mean (or minimum) over pairs. m_i is the moving average of g_i, and h that of `(1 - Psi)^2`,
    both with bias correction.
    If Psi < threshold, `d = sum_i (mean norm / |g_i|) g_i`; otherwise
    `d = sum_i |m_i| g_i / sqrt(h)`, where `|m_i|` is element-wise.

    Source: "Gradient Similarity Surgery in Multi-Task Deep Learning", Borsani et al., 2025,
    https://arxiv.org/abs/2506.06130, Algorithm 1 and section 5.3.
    Differs from the authors' code: critic and actor each have their own state (the code has one for
    critic, actor and temperature); first moments start at 0, not at 1; zero rows are left out (in the
    code they give NaN); the direction is not multiplied by m.
    Differs from Algorithm 1: it prints a second epsilon, added to h under the root. The code leaves it
    out, and so do we. h is never below epsilon / (1 - beta2), so this changes the step by 0.5 % at
    most with beta2 = 0.99, and by 5 % with 0.9.
    The forms of Psi: `similarity: mean` is the mean over pairs i < j, as in the code. `paper_mean` is
    the printed mean over all i, j, which is at least 1/m. `min` is the choice of section 5.3 for RL,
    both for the threshold and for h. With `h_similarity: mean` it is used for the threshold only, as
    in the authors' RL code.
    State: first moments `[m, n]`, h, and the number of steps.
    Scale: linear in J if the gradients are equalised, quadratic in the momentum branch.
    Cost: the Gramian, and a few passes over the matrix `[m, n]` and its moments.

    Args:
        threshold: gamma; below this similarity the gradients are equalised. The authors' best is 0.9.
        beta1: decay of the first moments of the rows.
        beta2: decay of h; 0.99 for RL and CelebA, 0.9 for NYUv2 and Cityscapes.
        epsilon: added to h at every step, inside the recursion.
        similarity: form of Psi for the threshold: `mean`, `paper_mean` or `min`.
        h_similarity: form of Psi for h: the `same`, or `mean`.
    """

    needs = Needs.GRAMIAN | Needs.MATRIX
    refusal = "it works on coordinates and has no weights that omega could multiply"
    paper = (
        '"Gradient Similarity Surgery in Multi-Task Deep Learning", Borsani et al., 2025,'
        " https://arxiv.org/abs/2506.06130"
    )
    scale = "linear in J if equalised, otherwise quadratic"
    checked_against = "its recursion by hand, authors' code"
    differs = (
        "mean similarity over i < j as in the code (printed: over all i, j); no second epsilon;"
        " moments start at 0; critic and actor have their own states"
    )

    def __init__(
        self,
        num_tasks: int,
        num_shared: int,
        *,
        seed: int = 0,
        threshold: float = 0.9,
        beta1: float = 0.9,
        beta2: float = 0.99,
        epsilon: float = 1e-8,
        similarity: Literal["mean", "paper_mean", "min"] = "mean",
        h_similarity: Literal["same", "mean"] = "same",
    ) -> None:
        super().__init__(num_tasks, num_shared, seed=seed)
        for name, beta in (("beta1", beta1), ("beta2", beta2)):
            if not 0 <= beta < 1:
                raise ValueError(f"`{name}` should be in [0, 1). Found {beta}.")
        if epsilon <= 0:
            raise ValueError(f"`epsilon` should be positive. Found {epsilon}.")
        if similarity not in ("mean", "paper_mean", "min"):
            raise ValueError(
                f"`similarity` should be mean, paper_mean or min. Found {similarity!r}."
            )
        if h_similarity not in ("same", "mean"):
            raise ValueError(f"`h_similarity` should be same or mean. Found {h_similarity!r}.")
        self.threshold = threshold
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon
        self.similarity = similarity
        self.h_similarity = h_similarity
        self.moments: Tensor
        self.h: Tensor
        self.steps: Tensor
        self.register_buffer("moments", torch.zeros(num_tasks, num_shared))
        self.register_buffer("h", torch.zeros((), dtype=torch.float64))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def direction(self, signals: Signals) -> Direction:
        """d, `[n]`; both branches are computed and one is selected, so the host need not wait."""
        length = norms(signals.gramian)
        psi = _similarities(length)
        trigger = _reduce(psi, length, self.similarity)
        driver = trigger
        if self.h_similarity == "mean":
            driver = _reduce(psi, length, "mean")

        matrix = signals.gradients.matrix()
        self.steps += 1
        self.moments.lerp_(matrix.to(self.moments.dtype), 1.0 - self.beta1)
        self.h.mul_(self.beta2).add_((1.0 - self.beta2) * (1.0 - driver) ** 2 + self.epsilon)
        moment_scale = 1.0 / (1.0 - self.beta1 ** self.steps.double())
        h = self.h / (1.0 - self.beta2 ** self.steps.double())

        equalise = trigger < self.threshold
        alive = length > 0
        mean_length = (length * alive).sum() / alive.sum().clamp_min(1)
        weights = torch.where(alive, mean_length / length.clamp_min(1e-300), 0.0)
        equalised = weights.to(matrix.dtype) @ matrix
        weighed = self.moments.abs().to(matrix.dtype) * matrix
        momentum = weighed.sum(0)
        momentum = momentum * (moment_scale / h.sqrt()).to(matrix.dtype)
        self.metrics.update(
            weights=weights,
            similarity=trigger,
            equalised=equalise.double(),
        )
        adjusted = None
        if signals.diagnose:
            adjusted = AdjustedRows.of_matrix(torch.where(equalise, matrix, weighed), matrix)
        direction = torch.where(equalise, equalised, momentum)
        return Direction(signals.gradients.split(direction), weights, adjusted)


def _similarities(length: Tensor) -> Tensor:
    squares = length[:, None] ** 2 + length[None, :] ** 2
    products = 2.0 * length[:, None] * length[None, :]
    return torch.where(squares > 0, products / squares.clamp_min(1e-300), 1.0)


def _reduce(psi: Tensor, length: Tensor, kind: str) -> Tensor:
    """Mean or minimum over the pairs of tasks with a gradient; 1 if there is no pair."""
    m = len(length)
    alive = length > 0
    pairs = alive[:, None] & alive[None, :]
    if kind != "paper_mean":
        pairs = pairs & torch.ones(m, m, dtype=torch.bool, device=psi.device).triu(1)
    if kind == "min":
        return torch.where(pairs, psi, 1.0).min()
    count = pairs.sum()
    mean = torch.where(pairs, psi, 0.0).sum() / count.clamp_min(1)
    return torch.where(count > 0, mean, 1.0)
