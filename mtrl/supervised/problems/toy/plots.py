"""Draw descents on a toy surface from the logs of runs."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mtrl.extras import install_command
from mtrl.runs.metric_log import read_jsonl
from mtrl.supervised.problems.toy.dynamics import TASK_STYLES, draw_dynamics
from mtrl.supervised.problems.toy.landscape import (
    AT_OPTIMUM,
    ON_FRONT,
    Landscape,
    describe,
    losses_at,
    paths_of,
    show_point,
    weighted,
)
from mtrl.supervised.problems.toy.surface import Surface

# Okabe and Ito's colours, which colour-blind people can tell apart. Two are not among them: black
# marks the front, yellow the optima.
_START_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A4419")
_FRONT: dict[str, Any] = {"color": "black", "linewidth": 2.5}
_OPTIMUM: dict[str, Any] = {
    "color": "#F0E442", "marker": "*", "linestyle": "", "markersize": 15, "markeredgecolor": "black",
}  # fmt: skip
_SLICE_AT = -5.0
_COLUMNS = 5


def draw_run(surface: Surface, run: Path) -> list[Path]:
    """Draw `trajectories.png` and `dynamics.png` into a run directory.

    `trajectories.png` shows the paths from all starts: over the sum of the losses, from above and in
    three dimensions; over each loss; and in the plane of the losses. It marks the optima of the sum
    and, where it is known, the Pareto front. One panel is a slice through the surface at y = -5.
    `dynamics.png` shows for each start what the method logs of these: the task weights, PIVRG's
    omega, RGB's rotation, and the angles between update and task gradients.

    Returns:
        The files written. None of them if nothing was logged or matplotlib is not installed.
    """
    records = read_jsonl(run / "metrics.jsonl")
    plt = _pyplot("trajectories.png and dynamics.png") if records else None
    if plt is None:
        return []
    figures = {
        run / "trajectories.png": _draw_trajectories(plt, surface, paths_of(surface, records)),
        run / "dynamics.png": draw_dynamics(plt, surface, records),
    }
    for picture, figure in figures.items():
        figure.suptitle(f"{run.name}\n{figure.get_suptitle()}")
        figure.savefig(picture, dpi=100)
        plt.close(figure)
    return list(figures)


def paths_of_runs(surface: Surface, runs: Mapping[str, Path]) -> dict[str, list[np.ndarray]]:
    """The logged paths of several runs. A run without a log is left out."""
    logs = {name: read_jsonl(run / "metrics.jsonl") for name, run in runs.items()}
    return {name: paths_of(surface, records) for name, records in logs.items() if records}


def draw_methods(
    surface: Surface, paths: Mapping[str, Sequence[np.ndarray]], picture: Path
) -> Path | None:
    """Draw the paths of several methods, one panel each, and count the starts that arrive.

    Args:
        surface: the surface and its starts.
        paths: method -> one path `[points, 2]` for each start.
        picture: the file to write.

    Returns:
        `picture`, or None if there is no path or matplotlib is not installed.
    """
    plt = _pyplot(picture.name) if paths else None
    if plt is None:
        return None
    landscape = Landscape(surface, [path for own in paths.values() for path in own])
    columns = min(_COLUMNS, len(paths))
    rows = -(-len(paths) // columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(2.3 * columns + 0.4, 2.7 * rows + 1.5), sharex=True, sharey=True,
        squeeze=False, layout="constrained",
    )  # fmt: skip
    for axes in grid.flat[len(paths) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel("$\\theta_2$")
    for axes in grid.flat[len(paths) - columns : len(paths)]:  # the lowest of each column
        axes.set_xlabel("$\\theta_1$")
        axes.tick_params(labelbottom=True)
    for axes, (method, own) in zip(grid.flat, paths.items(), strict=False):
        _draw_map(axes, landscape, 2, own, size=0.55)
        # A method's options stand below its name.
        name = method.replace(" ", "\n", 1)
        arrived = landscape.arrivals(np.stack([path[-1] for path in own]))
        axes.set_title(f"{name}\n{arrived}", fontsize=10)
    explained = f"optimum: starts that end within {AT_OPTIMUM} of an optimum of the sum"
    if landscape.front is not None:
        explained = f"front: starts that end within {ON_FRONT} of the Pareto front; {explained}"
    figure.suptitle(f"{describe(surface)}: the paths of {len(paths)} methods\n{explained}")
    _draw_legend(figure, surface, landscape, columns=4)
    _save_small(figure, picture)
    plt.close(figure)
    return picture


def _save_small(figure: Any, picture: Path) -> None:
    """Save with 256 colours: a quarter of the bytes, and enough for greys and seven colours."""
    from PIL import Image  # matplotlib needs it too

    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=100)
    image = Image.open(buffer).convert("RGB")
    # The default quantiser spends the palette on greys and loses the colours of the starts.
    palette = image.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    palette.save(picture, optimize=True)


def _draw_trajectories(plt: Any, surface: Surface, paths: Sequence[np.ndarray]) -> Any:
    landscape = Landscape(surface, paths)
    figure = plt.figure(figsize=(17, 11.5), layout="constrained")
    places = {2: 1, 0: 4, 1: 5}
    titles = (*_loss_names(surface), "Sum of both losses")
    for which, place in places.items():
        axes = figure.add_subplot(2, 3, place)
        heights = _draw_map(axes, landscape, which, paths)
        axes.set(xlabel="$\\theta_1$", ylabel="$\\theta_2$", title=titles[which])
        ticks = landscape.levels[which][::4]
        figure.colorbar(heights, ax=axes, format="%.1f", ticks=ticks).minorticks_off()
    _draw_loss_plane(figure.add_subplot(2, 3, 2), surface, landscape, paths)
    relief = figure.add_subplot(2, 3, 3, projection="3d", computed_zorder=False)
    _draw_relief(relief, surface, landscape, paths)
    _draw_slice(figure.add_subplot(2, 3, 6), surface, landscape)
    figure.suptitle(
        f"{describe(surface)}: {landscape.arrivals(np.stack([path[-1] for path in paths]))}"
    )
    _draw_legend(figure, surface, landscape)
    return figure


def _draw_map(
    axes: Any, landscape: Landscape, which: int, paths: Sequence[np.ndarray], size: float = 1.0
) -> Any:
    """Draw the surface from above with paths, front and optima; return the filled contours."""
    heights = axes.contourf(
        landscape.x, landscape.y, landscape.heights[which], landscape.levels[which],
        **_shades(landscape.levels[which]),
    )  # fmt: skip
    axes.contour(
        landscape.x, landscape.y, landscape.heights[which], landscape.levels[which],
        colors="black", linewidths=0.4 * size, alpha=0.35,
    )  # fmt: skip
    axes.set(xticks=range(-10, 11, 5), yticks=range(-10, 11, 5))
    if landscape.front is not None:
        axes.plot(*landscape.front.T, **_FRONT)
    for path, colour in zip(paths, _START_COLOURS, strict=False):
        _draw_path(axes, path.T, colour, size)
    if which == 2:
        axes.plot(*landscape.optima.T, **_OPTIMUM | {"markersize": 16 * size})
    return heights


def _draw_path(axes: Any, coordinates: np.ndarray, colour: str, size: float = 1.0) -> None:
    """Draw a line in two or three dimensions, with a ring at its start and a cross at its end."""
    from matplotlib.patheffects import Normal, Stroke

    width = 2.0 * size
    outline = [Stroke(linewidth=width + 1.5 * size, foreground="white"), Normal()]
    axes.plot(*coordinates, color=colour, linewidth=width, path_effects=outline, zorder=4)
    ends = {"color": colour, "linestyle": "", "zorder": 5}
    axes.plot(*coordinates[:, :1], "o", **ends, markersize=9 * size, markerfacecolor="white",
              markeredgewidth=2 * size)  # fmt: skip
    axes.plot(*coordinates[:, -1:], "X", **ends, markersize=11 * size, markeredgecolor="white")


def _draw_loss_plane(
    axes: Any, surface: Surface, landscape: Landscape, paths: Sequence[np.ndarray]
) -> None:
    curves = [losses_at(surface, path) for path in paths]
    if landscape.front is not None:
        axes.plot(*losses_at(surface, landscape.front).T, **_FRONT)
    for curve, colour in zip(curves, _START_COLOURS, strict=False):
        _draw_path(axes, curve.T, colour)
    axes.plot(*losses_at(surface, landscape.optima).T, **_OPTIMUM)
    left, right = _loss_names(surface)
    axes.set(xlabel=left, ylabel=right, title="Plane of the losses")
    axes.grid(alpha=0.3)


def _draw_relief(
    axes: Any, surface: Surface, landscape: Landscape, paths: Sequence[np.ndarray]
) -> None:
    heights = landscape.heights[2].clip(max=landscape.levels[2][-3])
    axes.plot_surface(
        *np.meshgrid(landscape.x, landscape.y), heights,
        **_shades(landscape.levels[2]), alpha=0.8, linewidth=0, rcount=75, ccount=75, zorder=1,
    )  # fmt: skip
    for path, colour in zip(paths, _START_COLOURS, strict=False):
        _draw_path(axes, np.stack([*path.T, losses_at(surface, path).sum(-1)]), colour, 0.8)
    if landscape.front is not None:
        axes.plot(
            *landscape.front.T, losses_at(surface, landscape.front).sum(-1), **_FRONT, zorder=3
        )
    axes.plot(
        *landscape.optima.T, losses_at(surface, landscape.optima).sum(-1), **_OPTIMUM, zorder=6
    )
    axes.view_init(elev=38, azim=-128)
    axes.set(xlabel="$\\theta_1$", ylabel="$\\theta_2$", title="Sum of both losses")


def _draw_slice(axes: Any, surface: Surface, landscape: Landscape) -> None:
    x = np.linspace(landscape.x[0], landscape.x[-1], 1001)
    losses = losses_at(surface, np.stack([x, np.full_like(x, _SLICE_AT)], axis=-1))
    for values, name, style in zip(losses.T, _loss_names(surface), TASK_STYLES, strict=True):
        axes.plot(x, values, label=name, **(style | {"linewidth": 2.0}))
    axes.plot(x, losses.sum(-1), label="Sum", color="black", linewidth=2.0)
    axes.set_ylim(
        top=min(losses.max(), 1.5 * abs(losses.min()))
    )  # higher walls would hide the wells
    axes.set(xlabel="$\\theta_1$", ylabel="loss", title=f"Slice at $\\theta_2 = {_SLICE_AT:g}$")
    axes.legend()
    axes.grid(alpha=0.3)


def _draw_legend(
    figure: Any, surface: Surface, landscape: Landscape, columns: int | None = None
) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour, linewidth=2.5, label=f"start {i}: {show_point(start)}")
        for i, (start, colour) in enumerate(zip(surface.starts, _START_COLOURS, strict=False))
    ]
    grey: dict[str, Any] = {"color": "grey", "linestyle": ""}
    handles.append(Line2D([], [], marker="o", markerfacecolor="white", label="start", **grey))
    handles.append(Line2D([], [], marker="X", label="end", **grey))
    if landscape.front is not None:
        handles.append(Line2D([], [], **_FRONT, label="Pareto front"))
    plural = "optima" if len(landscape.optima) > 1 else "optimum"
    handles.append(Line2D([], [], **_OPTIMUM, label=f"{plural} of the sum"))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns or len(handles))


def _loss_names(surface: Surface) -> tuple[str, str]:
    return f"Loss left ({weighted(surface)})", "Loss right ($L_2$)"


def _shades(levels: np.ndarray) -> dict[str, Any]:
    """Greys from dark (low) to white (high), with equal steps from level to level.

    The colours of paths stay readable on greys.
    """
    from matplotlib.colors import BoundaryNorm, LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("greys", ["#6B6B6B", "#FFFFFF"])
    return {"cmap": colours, "norm": BoundaryNorm(levels, 256)}


def _pyplot(pictures: str) -> Any:
    """`matplotlib.pyplot` for files, or None and a message if matplotlib is not installed."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt
    except ImportError:
        print(f"No {pictures}: matplotlib is missing. Repair: {install_command('plot')}",
              file=sys.stderr)  # fmt: skip
        return None
    return plt
