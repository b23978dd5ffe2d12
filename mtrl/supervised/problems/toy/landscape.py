"""The numbers behind the pictures of a toy: heights on a grid, front, optima, paths of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize

from mtrl.supervised.problems.toy.surface import Surface, distance_to_front, pareto_front

ON_FRONT, AT_OPTIMUM = 0.2, 0.3
"""Largest distance at which an end point counts as on the Pareto front, or at an optimum of the sum."""

_POINTS = 301
_LEVELS = 25


class Landscape:
    """Both losses and their sum on a grid, the Pareto front and the optima of the sum.

    Args:
        surface: the surface.
        paths: paths that the grid should cover, each `[points, 2]`.

    Attributes:
        x, y: the axes of the grid, wide enough for all paths.
        heights: loss of the left task, of the right task, and their sum, `[3, y, x]`.
        levels: heights of the contour lines of each of the three. They are quantiles of the grid, so
            that both the narrow valley and the deep bowls get lines.
        front: the Pareto front, `[points, 2]`, or None where it is not known.
        optima: optima of the sum, `[1 or 2, 2]`.
    """

    def __init__(self, surface: Surface, paths: Sequence[np.ndarray]) -> None:
        reached = np.concatenate(paths)
        low = np.minimum(reached.min(0) - 0.5, (-11.0, -12.5))
        high = np.maximum(reached.max(0) + 0.5, (11.0, 11.0))
        self.x, self.y = np.linspace(low, high, _POINTS).T
        self._grid = np.stack(np.meshgrid(self.x, self.y), axis=-1)
        losses = losses_at(surface, self._grid)
        self.heights = np.stack([losses[..., 0], losses[..., 1], losses.sum(-1)])
        steps = np.linspace(0.0, 1.0, _LEVELS)
        self.levels = [np.unique(np.quantile(height, steps)) for height in self.heights]
        self.front = pareto_front().numpy() if surface.name == "one_optimum" else None
        self.optima = self._minimise_sum(surface)

    def arrivals(self, ends: np.ndarray) -> str:
        """The numbers of `ends [starts, 2]` on the front and at an optimum, as text."""
        gaps = np.linalg.norm(ends[:, None] - self.optima, axis=-1).min(-1)
        said = f"optimum {(gaps < AT_OPTIMUM).sum()}/{len(ends)}"
        if self.front is None:
            return said
        arrived = distance_to_front(torch.from_numpy(ends)) < ON_FRONT
        return f"front {int(arrived.sum())}/{len(ends)}, {said}"

    def _minimise_sum(self, surface: Surface) -> np.ndarray:
        """Descend from the lowest grid point on each side of x = 0. Keep both ends if equally low."""
        found = []
        for side in (self.x <= 0, self.x >= 0):
            start = self._grid[:, side].reshape(-1, 2)[self.heights[2][:, side].argmin()]
            found.append(
                minimize(lambda p: losses_at(surface, p).sum(), start, method="Nelder-Mead")
            )
        best, other = sorted(found, key=lambda result: result.fun)
        both = other.fun < best.fun + 0.01 and np.linalg.norm(best.x - other.x) > AT_OPTIMUM
        return np.stack([best.x, other.x] if both else [best.x])


def table_of_ends(surface: Surface, ends: Mapping[str, np.ndarray]) -> str:
    """End points of each method, `[starts, 2]`, as a Markdown table."""
    landscape = Landscape(surface, list(ends.values()))
    heads = " | ".join(f"from {show_point(start)}" for start in surface.starts)
    lines = [f"| method | {heads} | arrived |", "|---" * (len(surface.starts) + 2) + "|"]
    for method, points in ends.items():
        cells = " | ".join(f"({x:.2f}, {y:.2f})" for x, y in points)
        lines.append(f"| {method} | {cells} | {landscape.arrivals(points)} |")
    return "\n".join(lines) + "\n"


def paths_of(surface: Surface, records: Sequence[Mapping[str, Any]]) -> list[np.ndarray]:
    """For each start, its path: the start and the point of every record, `[records + 1, 2]`."""
    return [
        np.array([start, *((r[f"start{i}/x"], r[f"start{i}/y"]) for r in records)], dtype=float)
        for i, start in enumerate(surface.starts)
    ]


def losses_at(surface: Surface, points: np.ndarray) -> np.ndarray:
    """Both losses at `points [..., 2]`, `[..., 2]`."""
    return surface.losses(torch.as_tensor(points, dtype=torch.float64)).numpy()


def describe(surface: Surface) -> str:
    """The surface and its sum of losses, for a title."""
    return f"{surface.name.replace('_', ' ')}, {weighted(surface)} + $L_2$"


def weighted(surface: Surface) -> str:
    """The left task's loss with its weight."""
    return "$L_1$" if surface.loss_weight == 1 else f"${surface.loss_weight:g}\\,L_1$"


def show_point(point: Sequence[float]) -> str:
    """`(x, y)` without needless digits."""
    return f"({point[0]:g}, {point[1]:g})"
