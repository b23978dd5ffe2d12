"""What a Gramian says about conflict between tasks. All functions take `[m, m]` float64."""

from __future__ import annotations

import torch
from torch import Tensor


def norms(gramian: Tensor) -> Tensor:
    """Lengths of the task gradients, `[m]`."""
    return gramian.diagonal().clamp_min(0.0).sqrt()


def cosines(gramian: Tensor) -> Tensor:
    """Cosines between task gradients, `[m, m]`; zero where a gradient is zero."""
    # The root of zero's reciprocal is infinite; taken as zero.
    scale = gramian.diagonal().clamp_min(0.0).rsqrt().nan_to_num(posinf=0.0)
    return (gramian * scale[:, None] * scale).clamp(-1.0, 1.0)


def conflict_metrics(gramian: Tensor) -> dict[str, Tensor]:
    """Smallest cosine of a pair and share of pairs in conflict (negative cosine).

    Zero for a single task, which has no pair.
    """
    m = len(gramian)
    if m == 1:
        zero = gramian.new_zeros(())
        return {"cos_min": zero, "conflict_rate": zero}
    # The diagonal (1, or 0 for a zero row, whose pairs are 0 too) is no pair, and changes neither.
    pairs = cosines(gramian)
    return {
        "cos_min": pairs.amin(),
        "conflict_rate": (pairs < 0).sum(dtype=torch.float64) / (m * (m - 1)),
    }
