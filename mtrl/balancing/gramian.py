"""What a Gramian says about conflict between tasks. All functions take `[m, m]` float64."""

from __future__ import annotations

import torch
from torch import Tensor


def norms(gramian: Tensor) -> Tensor:
    """Lengths of the task gradients, `[m]`."""
    return gramian.diagonal().clamp_min(0.0).sqrt()


def cosines(gramian: Tensor) -> Tensor:
    """Cosines between task gradients, `[m, m]`; zero where a gradient is zero."""
    length = norms(gramian)
    scale = torch.where(length > 0, 1.0 / length.clamp_min(1e-300), 0.0)
    return (gramian * scale[:, None] * scale[None, :]).clamp(-1.0, 1.0)


def conflict_metrics(gramian: Tensor) -> dict[str, Tensor]:
    """Smallest cosine of a pair and share of pairs in conflict (negative cosine).

    Zero for a single task, which has no pair.
    """
    m = len(gramian)
    if m == 1:
        zero = gramian.new_zeros(())
        return {"cos_min": zero, "conflict_rate": zero}
    rows, columns = torch.triu_indices(m, m, offset=1, device=gramian.device)
    pairs = cosines(gramian)[rows, columns]
    return {"cos_min": pairs.min(), "conflict_rate": (pairs < 0).double().mean()}
