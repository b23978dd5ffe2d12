"""GO4Align: Group Optimization for Multi-Task Alignment."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtrl.balancing.base import Needs, Weighting
from mtrl.balancing.signals import Signals


class GO4Align(Weighting):
    """Give tasks of similar risk the same weight.

    `v_i = p_i sum(losses) / loss_i`. The risk weights p sum to 1 and follow the losses:
    `p <- p exp(-eta loss)`, normalised. k-means divides the values v_i into groups, and w_i is the
    mean of the group of v_i.

    Source: "GO4Align: Group Optimization for Multi-Task Alignment", Shen et al., NeurIPS 2024,
    https://arxiv.org/abs/2404.06486.
    Differs from the released code: dynamic programming finds the exact one-dimensional k-means
    partition (the release uses a seeded heuristic); there may be fewer tasks than groups; p has a
    floor, without which it collapses in long runs.
    State: p `[m]`. Scale: weights are 1 if all losses are equal; otherwise there is no fixed scale.
    Cost: one plain backward pass; O(groups m^2) on the host.

    Args:
        groups: number of groups; the release uses 5.
        rate: eta, the step size of p; the release uses 1e-4.
        floor: smallest m p_i.
    """

    needs = Needs.LOSSES
    positive_losses = True
    weighs_losses = True
    capturable = False
    informed = "weights"
    paper = (
        '"GO4Align: Group Optimization for Multi-Task Alignment", Shen et al., NeurIPS 2024, '
        "https://arxiv.org/abs/2404.06486"
    )
    scale = "1 at equal losses"
    checked_against = "partitions by brute force, authors' code"
    differs = "exact one-dimensional k-means; p has a floor"

    def __init__(
        self,
        num_tasks: int,
        num_shared: int,
        *,
        seed: int = 0,
        groups: int = 5,
        rate: float = 1e-4,
        floor: float = 1e-3,
    ) -> None:
        super().__init__(num_tasks, num_shared, seed=seed)
        if groups < 1:
            raise ValueError(f"`groups` should be at least 1. Found {groups}.")
        if rate < 0:
            raise ValueError(f"`rate` should not be negative. Found {rate}.")
        if not 0 < floor <= 1:
            raise ValueError(f"`floor` should be in (0, 1]. Found {floor}.")
        self.groups = groups
        self.rate = rate
        self.floor = floor
        self.risk: Tensor
        self.register_buffer("risk", torch.full((num_tasks,), 1.0 / num_tasks, dtype=torch.float64))

    def task_weights(self, signals: Signals) -> Tensor:
        """w, `[m]`: the mean of each task's group."""
        losses = signals.positive_losses
        share = torch.softmax(self.risk.log() - self.rate * losses, 0)
        share = share.clamp_min(self.floor / self.num_tasks)
        self.risk.copy_(share / share.sum())
        values = (losses.sum() / losses).clamp_max(1e100) * self.risk
        centres = group_means(values.cpu().numpy(), self.groups)  # one device-to-host copy of [m]
        return torch.from_numpy(centres).to(values.device)


def group_means(values: NDArray[np.float64], groups: int) -> NDArray[np.float64]:
    """Replace each value by the mean of its group in the exact k-means partition, `[m]`.

    In one dimension the groups of an optimal partition are intervals of the sorted values. Dynamic
    programming over the right ends of the intervals finds it.

    Args:
        values: `[m]`.
        groups: largest number of groups.
    """
    m, groups = len(values), min(groups, len(values))
    order = np.argsort(values, kind="stable")
    scale = float(np.abs(values).max(initial=0.0)) or 1.0
    ordered = values[order] / scale
    total = np.concatenate([[0.0], np.cumsum(ordered)])
    square = np.concatenate([[0.0], np.cumsum(ordered**2)])
    left, right = np.arange(m + 1)[:, None], np.arange(m + 1)[None, :]
    count = np.maximum(right - left, 1)
    # cost[i, j]: squared error of one group made of the sorted values i .. j - 1
    cost = square[right] - square[left] - (total[right] - total[left]) ** 2 / count
    cost = np.where(right > left, np.maximum(cost, 0.0), np.inf)

    best = np.full(m + 1, np.inf)
    best[0] = 0.0
    starts = np.zeros((groups, m + 1), dtype=int)
    for group in range(groups):
        candidates = best[:, None] + cost
        starts[group] = candidates.argmin(0)
        best = candidates.min(0)
    centres = np.empty(m)
    end = m
    for group in reversed(range(groups)):
        start = starts[group][end]
        centres[order[start:end]] = ordered[start:end].mean() * scale
        end = start
    return centres
