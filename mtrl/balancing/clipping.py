"""Bounds on the norm of gradients, after the tasks' gradients are combined."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from mtrl.balancing.foreach import scale_

Clip = Literal["separate", "joint"]


def clip_(
    trunk: Sequence[nn.Parameter], heads: Sequence[nn.Parameter], max_norm: float | None, clip: Clip
) -> dict[str, Tensor]:
    """Bound the gradients of trunk and heads in place.

    Args:
        trunk: parameters with gradients.
        heads: parameters with gradients; there may be none.
        max_norm: the bound; None leaves the gradients as they are.
        clip: `separate` bounds trunk and heads each by `max_norm`, `joint` both together.

    Returns:
        Scalars for the log: `grad_norm` of the trunk (or of both, where `joint`) before the bound, and
        `clipped`, 1 where the bound changed it.
    """
    if clip == "joint":
        groups = [[*trunk, *heads]]
    else:
        groups = [group for group in (trunk, heads) if group]
    gradients = [[p.grad for p in group if p.grad is not None] for group in groups]
    norms = torch.stack([nn.utils.get_total_norm(group) for group in gradients])
    if max_norm is None:
        return {"grad_norm": norms[0], "clipped": torch.zeros_like(norms[0])}
    # `clip_grads_with_norm_` for all groups at once.
    factors = (max_norm / (norms + 1e-6)).clamp_max(1.0)
    for group, factor in zip(gradients, factors, strict=True):
        scale_(group, factor)
    return {"grad_norm": norms[0], "clipped": (norms[0] > max_norm).float()}
