"""Norms, cosines and conflicts of task gradients, from their Gramian `[m, m]` float64."""

from __future__ import annotations

import torch
from torch import Tensor


def norms(gramian: Tensor) -> Tensor:
    """Lengths of the task gradients, `[m]`."""
    return gramian.diagonal().clamp_min(0.0).sqrt()


def cosines(gramian: Tensor) -> Tensor:
    """Cosines between task gradients, `[m, m]`; zero where a gradient is zero."""
    # 1 / sqrt(0) is infinite; zero rows get 0.
    scale = gramian.diagonal().clamp_min(0.0).rsqrt().nan_to_num(posinf=0.0)
    return (gramian * scale[:, None] * scale).clamp(-1.0, 1.0)


def conflict_metrics(gramian: Tensor) -> dict[str, Tensor]:
    """Smallest cosine over pairs of tasks, and share of pairs in conflict (negative cosine).

    Both are zero for a single task.
    """
    m = len(gramian)
    if m == 1:
        zero = gramian.new_zeros(())
        return {"cos_min": zero, "conflict_rate": zero}
    # The diagonal holds no pairs, but does not change either number: it is 1, or 0 for a zero row,
    # whose pairs are 0, too.
    pairs = cosines(gramian)
    return {
        "cos_min": pairs.amin(),
        "conflict_rate": (pairs < 0).sum(dtype=torch.float64) / (m * (m - 1)),
    }
