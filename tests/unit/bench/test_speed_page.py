"""The page on speed comes from the committed raw files, and says what was not measured."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from mtrl.bench.page.growth import flops
from mtrl.bench.page.repeats import Figure, joined, per_run, read_results
from mtrl.bench.page.speed_page import speed_page
from mtrl.bench.page.targets import TargetError, read_targets

RESULTS = Path(__file__).parents[3] / "results"


def test_the_committed_page_is_that_of_the_committed_files(tmp_path: Path) -> None:
    shutil.copytree(RESULTS / "speed", tmp_path / "speed")
    text = speed_page(tmp_path / "speed")
    assert (tmp_path / "speed.md").read_text() == (RESULTS / "speed.md").read_text()
    commands = [json.loads(p.read_text()) for p in (RESULTS / "speed").glob("*.json")]
    assert all(r["machine"]["command"] in text for r in commands)


MACHINE = {
    "command": "mtrl bench ray", "date": "2026-11-22T00:00", "processor": "x", "cores": 2,
    "load": 0.5,
}  # fmt: skip


def write_runs(folder: Path, *runs: tuple[float, float], **machine: object) -> None:
    """Raw files of `mtrl bench ray`: overheads at 50 and 200 steps, a file for each run; our targets."""
    folder.mkdir()
    shutil.copy(RESULTS / "speed" / "targets.yaml", folder)
    for i, (short, long) in enumerate(runs, 1):
        chunks = [{"chunk": 50, "overhead %": short}, {"chunk": 200, "overhead %": long}]
        result = {"machine": MACHINE | machine, "chunks": chunks}
        name = f"ray.{i}.json" if len(runs) > 1 else "ray.json"
        (folder / name).write_text(json.dumps(result))


def test_a_target_is_met_missed_or_not_measured(tmp_path: Path) -> None:
    write_runs(tmp_path / "speed", (3.0, 1.5))
    lines = speed_page(tmp_path / "speed").splitlines()
    assert "| Ray's overhead at 50 steps, % | <= 4 | 3 | 1 | yes |" in lines
    assert "| Ray's overhead at 200 steps, % | <= 1 | 1.5 | 1 | **no** |" in lines
    assert "| update on a GPU, PIVRG, ms | <= 0.6 |  |  | not measured |" in lines


def test_repeated_runs_give_median_range_and_noise(tmp_path: Path) -> None:
    write_runs(tmp_path / "speed", (3.0, 0.9), (5.0, 1.3), (3.5, 1.1))
    lines = speed_page(tmp_path / "speed").splitlines()
    met = "| Ray's overhead at 50 steps, % | <= 4 | 3.5 (3 to 5) | 3 | met, within noise |"
    missed = (
        "| Ray's overhead at 200 steps, % | <= 1 | 1.1 (0.9 to 1.3) | 3 |"
        " **missed, within noise** |"
    )
    assert met in lines
    assert missed in lines
    assert "| 50 | 3.5 (3 to 5) |" in lines


def test_runs_all_on_one_side_of_a_target_are_no_noise(tmp_path: Path) -> None:
    write_runs(tmp_path / "speed", (3.0, 1.1), (3.9, 1.3))
    lines = speed_page(tmp_path / "speed").splitlines()
    assert "| Ray's overhead at 50 steps, % | <= 4 | 3.45 (3 to 3.9) | 2 | yes |" in lines
    assert "| Ray's overhead at 200 steps, % | <= 1 | 1.2 (1.1 to 1.3) | 2 | **no** |" in lines


@pytest.mark.parametrize(
    ("git", "shown"),
    [
        ({"commit": "0123456789ab", "dirty": False}, "commit 0123456,"),
        ({"commit": "0123456789ab", "dirty": True}, "commit 0123456 with changes,"),
        (None, "commit not recorded,"),
    ],
)
def test_the_page_says_which_code_was_measured_and_when(
    git: object, shown: str, tmp_path: Path
) -> None:
    write_runs(tmp_path / "speed", (1.0, 1.0), (2.0, 2.0), git=git)
    (line,) = [
        line for line in speed_page(tmp_path / "speed").splitlines() if line[:7] == "- `ray`"
    ]
    assert shown in line
    assert line.count("2026-11-22T00:00 (load 0.5)") == 2


def test_runs_that_measure_different_things_are_refused(tmp_path: Path) -> None:
    write_runs(tmp_path / "speed", (1.0, 1.0))
    for i, options in enumerate(({"rounds": 3}, {"rounds": 4}), 1):
        raw = {"machine": MACHINE, "options": options, "chunks": []}
        (tmp_path / "speed" / f"ray.{i}.json").write_text(json.dumps(raw))
    (tmp_path / "speed" / "ray.json").unlink()
    with pytest.raises(ValueError, match=r"same \(ray\).*rounds.*Measure all of them again"):
        read_results(tmp_path / "speed")


def test_what_is_worked_out_from_figures_is_worked_out_in_each_run() -> None:
    slow, fast = Figure([8.0, 30.0, 12.0]), Figure([1.0, 10.0, 2.0])
    ratio = per_run(lambda a, b: a / b, slow, fast)
    assert isinstance(ratio, Figure)
    assert ratio.values == (8.0, 3.0, 6.0)
    assert (ratio, ratio.low, ratio.high) == (6.0, 3.0, 8.0)
    assert per_run(lambda a, b: a / b, 6.0, 3.0) == 2.0


def test_runs_are_joined_part_by_part() -> None:
    runs = [
        {"m": 10, "ms": {"a": 2.0}, "rows": [{"ok": True}], "name": "x", "count": 3},
        {"m": 10, "ms": {"a": 4.0}, "rows": [{"ok": False}], "name": "y", "count": 5},
    ]
    result = joined(runs, "test")
    assert result["m"] == 10 and not isinstance(result["m"], Figure)
    assert result["ms"]["a"].values == (2.0, 4.0)
    assert result["rows"] == [{"ok": "True / False"}]
    assert result["name"] == "x / y"
    assert result["count"].values == (3, 5)
    with pytest.raises(ValueError, match="same"):
        joined([{"rows": [1]}, {"rows": [1, 2]}], "test")
    with pytest.raises(ValueError, match="same"):
        joined([{"a": 1}, {"b": 1}], "test")


def test_the_solver_is_judged_by_single_calls_too(tmp_path: Path) -> None:
    folder = tmp_path / "speed"
    folder.mkdir()
    shutil.copy(RESULTS / "speed" / "targets.yaml", folder)

    def record(kind: str, ours: float, theirs: float) -> dict:
        newton = {"median_cpu_ms": ours, "worst_residual": 1e-10}
        scipy = {"median_cpu_ms": theirs}
        return {"tasks": 10, "kind": kind, "newton": newton, "scipy": scipy, "speedup": 60.0}

    for i, ours in enumerate((0.2, 0.25, 0.4), 1):  # the slowest kind: 50, 40 and 25 times
        records = [record("random", ours, 10.0), record("tiny", 0.1, 20.0)]
        raw = {"machine": MACHINE, "results": records, "speedup_min": 60.0, "residual_max": 1e-10}
        (folder / f"solver.{i}.json").write_text(json.dumps(raw))
    lines = speed_page(folder).splitlines()
    warm = "| least squares over our solver, warm | >= 40 | 60 | 3 | yes |"
    cold = (
        "| least squares over our solver, single calls | >= 40 | 40 (25 to 50) | 3 |"
        " met, within noise |"
    )
    assert warm in lines
    assert cold in lines


def test_the_model_counts_forward_passes() -> None:
    assert flops(20, 64, 400, 3) / flops(10, 128, 400, 3) < 1.02  # only the one-hot is wider
    assert 3.5 < flops(10, 128, 800, 3) / flops(10, 128, 400, 3) < 4


def test_old_commands_are_explained_while_a_raw_file_names_one(tmp_path: Path) -> None:
    write_runs(tmp_path / "new", (1.0, 1.0))
    write_runs(tmp_path / "old", (1.0, 1.0), command="scripts/bench_ray")
    line = "`scripts/bench_X` is `mtrl bench X` today."
    assert line not in speed_page(tmp_path / "new")
    assert line in speed_page(tmp_path / "old")


def test_a_folder_without_targets_has_a_page_without_their_table(tmp_path: Path) -> None:
    write_runs(tmp_path / "speed", (3.0, 1.5))
    (tmp_path / "speed" / "targets.yaml").unlink()
    text = speed_page(tmp_path / "speed")
    assert "## Targets" not in text
    assert "| 50 | 3 |" in text


@pytest.mark.parametrize(
    "entry",
    ["what: a, target: 3, figure: [b]", "what: a, target: '== 3', figure: [b]", "what: a"],
)
def test_a_target_that_is_no_bound_is_refused(entry: str, tmp_path: Path) -> None:
    (tmp_path / "targets.yaml").write_text(f"- {{{entry}}}\n")
    with pytest.raises(TargetError, match=r"should have `what`.*Found .*'what': 'a'"):
        read_targets(tmp_path)
