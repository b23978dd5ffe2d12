"""Draw a method's weights and angles along its paths on a toy, over the steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mtrl.supervised.problems.toy.landscape import describe, show_point
from mtrl.supervised.problems.toy.surface import TASKS, Surface

Records = Sequence[Mapping[str, Any]]

TASK_STYLES: tuple[dict[str, Any], dict[str, Any]] = (
    {"color": "#56B4E9", "linewidth": 3.5},
    {"color": "#D55E00", "linewidth": 1.2, "linestyle": "--"},
)
_LEAST_SHARE = 1e-4


@dataclass(frozen=True)
class _Row:
    """A row of panels: the logged key, the label of its axis, and its unit."""

    key: str
    label: str
    degrees_per_unit: float = 1.0
    share: bool = False


_ROWS = (
    _Row("weight", "task weight\n(share, at least $10^{-4}$)", share=True),
    _Row("omega", "PIVRG's omega"),
    _Row("angles", "RGB: rotation $\\alpha_i$\n(degrees)", 180.0 / np.pi),
    _Row("update_angles", "angle of update and\ntask gradient (degrees)"),
)


def draw_dynamics(plt: Any, surface: Surface, records: Records) -> Any:
    """A figure with a column for each start and a row for each quantity that was logged.

    Both tasks share a panel. Where they agree, a thin dashed line lies on a thick one.
    """
    rows = [row for row in _ROWS if f"start0/balance/{row.key}/left" in records[-1]]
    figure, grid = plt.subplots(
        len(rows), len(surface.starts), figsize=(3.0 * len(surface.starts) + 1, 2.6 * len(rows) + 1.3),
        sharex=True, sharey="row", squeeze=False, layout="constrained",
    )  # fmt: skip
    for i, start in enumerate(surface.starts):
        grid[0, i].set_title(f"start {i}: {show_point(start)}")
        grid[-1, i].set_xlabel("steps")
        for axes, row in zip(grid[:, i], rows, strict=True):
            _draw_row(axes, records, row, i)
            below = [r["updates"] for r in records if r[f"start{i}/y"] < 0]
            if start[1] > 0 and below:
                axes.axvline(
                    below[0], color="black", linestyle=":", label="crosses $\\theta_2 = 0$"
                )
    for axes, row in zip(grid[:, 0], rows, strict=True):
        axes.set_ylabel(row.label)
    legends = [axes.get_legend_handles_labels() for axes in grid[0]]
    named = {label: handle for legend in legends for handle, label in zip(*legend, strict=True)}
    figure.legend(named.values(), named.keys(), loc="outside lower center", ncols=3)
    figure.suptitle(f"{describe(surface)}: single steps, as recorded")
    return figure


def _draw_row(axes: Any, records: Records, row: _Row, start: int) -> None:
    from matplotlib.ticker import MultipleLocator

    keys = [f"start{start}/balance/{row.key}/{task}" for task in TASKS]
    table = [[record["updates"], *(record.get(key) for key in keys)] for record in records]
    steps, *values = np.array(table, dtype=np.float64).T
    if row.share:
        total = np.abs(values).sum(0).clip(1e-30)
        values = [(value / total).clip(_LEAST_SHARE) for value in values]
    for value, task, style in zip(values, TASKS, TASK_STYLES, strict=True):
        axes.plot(steps, value * row.degrees_per_unit, label=f"task {task}", **style)
    if row.share:
        axes.set(yscale="log", ylim=(_LEAST_SHARE / 1.5, 1.5))
        axes.minorticks_off()
    if row.key == "update_angles":
        axes.axhline(90.0, color="grey", linewidth=0.8)
        axes.yaxis.set_major_locator(MultipleLocator(30))
    axes.grid(alpha=0.3)
