"""PIVRG's Table 5 on digits: what its preset trains, and the page that its runs make."""

from __future__ import annotations

from pathlib import Path

from mtrl.cli import main
from mtrl.config import flatten, resolve
from mtrl.jobs.config import SupervisedConfig
from mtrl.jobs.grid import grid_points
from mtrl.report.supervised_page import add_runs, supervised_page
from mtrl.runs.directory import RunDirectory

PRESET = "supervised/ablation/informed"


def test_six_methods_run_with_and_without_the_layer() -> None:
    grid = resolve(SupervisedConfig, [PRESET]).config.grid
    arms = set()
    for point in grid_points(dict(flatten(grid))):
        changes = [f"{key}={value}" for key, value in point.items()]
        config = resolve(SupervisedConfig, [PRESET], changes).config
        arms.add((config.method, "pi" in config.method_options, config.seed))
    methods = ("ls", "rlw", "dwa", "uw", "mgda", "nash_mtl")
    assert arms == {(m, pi, seed) for m in methods for pi in (False, True) for seed in range(5)}


def test_its_runs_make_a_page(tmp_path: Path) -> None:
    small = ["recipe.epochs=1", "problem_options.pairs=64", "recipe.batch_size=32"]
    few = ["grid.method=[mgda]", "grid.seed=[0]", f"run.directory={tmp_path / 'runs'}"]
    assert main(["supervised", "-c", PRESET, *small, *few]) == 0
    runs = [RunDirectory.open(path) for path in (tmp_path / "runs").iterdir() if path.is_dir()]
    add_runs(tmp_path / "informed", runs)
    text = supervised_page(tmp_path / "informed")
    rows = {line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| mgda")}
    assert {row.split(" epochs=")[0] for row in rows} == {"mgda", "mgda pi={}"}
    (single,) = (line for line in text.splitlines() if line.startswith("| stl"))
    cells = [cell.strip() for cell in single.split("|")]
    assert cells[-6] == ""  # where single-task training is not ranked
    assert cells[-5] == "1.0"  # after one epoch both runs are behind it
    assert cells[-4] == cells[-5]  # one metric for each task: nested is flat
