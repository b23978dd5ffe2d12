"""Performance-informed weights: PIVRG's omega, a layer that any method may read.

Source: PIVRG (CVPR 2025). omega = m softmax(drop / tau), where drop is the shortfall of each task
against its baseline in percent, and tau is chosen so that no weight leaves its bounds.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mtrl.balancing.base import Performance


def performance_weights(
    performance: Performance, *, min_temperature: float = 10.0, bound: float = 2.0
) -> Tensor:
    """omega, `[m]` float64: larger for tasks that are further behind; sums to m.

    `tau = max((max drop - min drop) / ln(bound), min_temperature)`, so the ratio of the largest to
    the smallest weight is `min(bound, exp(range / min_temperature))` and each lies in [1/bound,
    bound]. A task of which nothing is known yet (NaN) has weight 1 and does not touch the others.

    Args:
        performance: how well each task is doing.
        min_temperature: tau*, in percentage points.
        bound: s, the largest ratio of two weights; above 1.
    """
    drop = performance.drop_percent().double()
    known = torch.isfinite(drop)
    count = known.sum()
    highest = torch.where(known, drop, -torch.inf).amax()
    tau = temperature(performance, min_temperature=min_temperature, bound=bound)
    scores = torch.where(known, (drop - highest) / tau, -torch.inf)
    share = torch.where(known, torch.exp(scores), 0.0)
    omega = count * share / share.sum().clamp_min(1e-300)
    return torch.where(known, omega, 1.0)


def temperature(
    performance: Performance, *, min_temperature: float = 10.0, bound: float = 2.0
) -> Tensor:
    """tau, a number in percentage points: see :func:`performance_weights`."""
    drop = performance.drop_percent().double()
    known = torch.isfinite(drop)
    highest = torch.where(known, drop, -torch.inf).amax()
    lowest = torch.where(known, drop, torch.inf).amin()
    spread = torch.where(known.any(), highest - lowest, 0.0)
    return torch.clamp(spread / math.log(bound), min=min_temperature)
