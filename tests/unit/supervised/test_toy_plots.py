"""The toy's pictures: they are drawn, count arrivals truly and do without matplotlib."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from mtrl.cli import OK, main
from mtrl.supervised.problems.toy.dynamics import draw_dynamics
from mtrl.supervised.problems.toy.landscape import Landscape
from mtrl.supervised.problems.toy.plots import (
    _START_COLOURS,
    draw_methods,
    draw_run,
    paths_of_runs,
)
from mtrl.supervised.problems.toy.surface import Surface


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    arguments = ["-c", "supervised/toy", "method=ls", "recipe.epochs=2"]
    assert main(["supervised", *arguments, f"run.directory={folder}"]) == OK
    (run,) = folder.glob("toy-ls-*")
    return run


@pytest.mark.parametrize("name", ["trajectories.png", "dynamics.png"])
def test_a_run_leaves_pictures(run: Path, name: str) -> None:
    assert (run / "end_points.json").is_file()
    assert (run / name).stat().st_size > 30_000


def test_methods_share_a_picture(run: Path, tmp_path: Path) -> None:
    unlogged = tmp_path / "unlogged"
    paths = paths_of_runs(Surface(), {"ls": run, "again": run, "unlogged": unlogged})
    assert list(paths) == ["ls", "again"]
    picture = draw_methods(Surface(), paths, tmp_path / "all.png")
    assert picture == tmp_path / "all.png"
    assert picture.stat().st_size > 10_000
    image = pytest.importorskip("PIL.Image").open(picture).convert("RGB")
    drawn = {colour for _, colour in image.getcolors(maxcolors=1 << 20)}
    for colour in _START_COLOURS[: len(Surface().starts)]:  # a small palette keeps the starts apart
        wanted = tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))
        assert min(max(abs(a - b) for a, b in zip(c, wanted, strict=True)) for c in drawn) <= 8
    assert draw_methods(Surface(), {}, picture) is None
    assert draw_run(Surface(), unlogged) == []


def test_without_matplotlib_there_is_a_message(
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert draw_run(Surface(), run) == []
    paths = paths_of_runs(Surface(), {"ls": run})
    assert draw_methods(Surface(), paths, tmp_path / "all.png") is None
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert all("matplotlib is missing" in line for line in lines)


def test_arrivals_are_counted_at_the_known_optima() -> None:
    ends = [(-5.727, -8.409), (3.0, -8.5), (7.5, -8.43), (5.0, 4.0)]
    paths = [np.array([(0.0, 0.0), end]) for end in ends]
    assert (
        Landscape(Surface(), paths).arrivals(np.stack([p[-1] for p in paths]))
        == "front 2/4, optimum 1/4"
    )
    two = Landscape(Surface("two_optima", 1.0), paths)
    assert two.front is None
    assert two.optima == pytest.approx(np.array([(-5.455, -10.843), (5.455, -10.843)]), abs=0.01)


def test_dynamics_show_what_the_method_logs() -> None:
    plt = pytest.importorskip("matplotlib.pyplot")
    surface = Surface()
    logged = {"angles": 0.5, "update_angles": 90.0}
    records = [
        {"updates": 10 * (epoch + 1)}
        | {f"start{i}/y": -1.0 for i in range(5)}
        | {
            f"start{i}/balance/{key}/{task}": value
            for i in range(5)
            for key, value in logged.items()
            for task in ("left", "right")
        }
        for epoch in range(3)
    ]
    figure = draw_dynamics(plt, surface, records)
    labels = [axes.get_ylabel() for axes in figure.axes if axes.get_ylabel()]
    assert ["RGB" in labels[0], "angle" in labels[1], len(labels)] == [True, True, 2]
    rotation = figure.axes[0].lines[0].get_ydata()
    assert rotation == pytest.approx(np.full(3, np.degrees(0.5)))
    plt.close(figure)
