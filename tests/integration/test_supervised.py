"""`mtrl supervised` as a user meets it: every method, single tasks, resume, clear errors."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

from mtrl.balancing import METHODS
from mtrl.cli import main
from mtrl.jobs.grid import grid_points
from mtrl.report.balance import COLUMNS, balance_rows
from mtrl.report.supervised_page import add_runs, supervised_page
from mtrl.runs import checkpoint
from mtrl.runs.directory import RunDirectory, RunDirectoryError
from mtrl.runs.gramian_log import read_gramians
from mtrl.runs.metric_log import read_jsonl
from mtrl.supervised.problems.toy.descent import Descent

SMALL = [
    "-c", "supervised/digits", "problem_options.pairs=96", "recipe.batch_size=32", "recipe.epochs=2",
    "run.diagnostics_interval_updates=2",
]  # fmt: skip


def train(base: Path, *arguments: str) -> int:
    return main(["supervised", *SMALL, f"run.directory={base}", *arguments])


def only_run(base: Path) -> Path:
    (run,) = (path.parent for path in base.glob("*/config.yaml"))
    return run


def only_of(base: Path, seed: int) -> Path:
    (run,) = (path.parent for path in base.glob(f"*-s{seed}-*/config.yaml"))
    return run


def final(run: Path) -> dict:
    return json.loads((run / "eval" / "final.json").read_text())


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_on_real_digits(tmp_path: Path, method: str) -> None:
    weights = ["method_options.weights=[1.0, 3.0]"] if method == "fixed" else []
    assert train(tmp_path, f"method={method}", *weights) == 0
    run = only_run(tmp_path)
    records = read_jsonl(run / "metrics.jsonl")
    assert [(r["epochs"], r["updates"]) for r in records] == [(1, 3), (2, 6)]
    losses = [v for r in records for k, v in r.items() if "/loss/" in k]
    assert len(losses) == 8
    assert np.isfinite(losses).all()
    state = checkpoint.load_latest(run / "checkpoints")[1]["learners"][0]
    assert all(float(s["step"]) == 6 for s in state["optimizer"]["state"].values())
    assert all(torch.isfinite(v).all() for v in state["model"].values())
    (test,) = final(run)["test"]
    assert set(test["metrics"]) == {"CL", "RR"}
    assert np.isfinite([test["delta_m"], test["variance"]]).all()
    assert test["delta_m"] == pytest.approx(
        (test["drops"]["CL"]["accuracy"] + test["drops"]["RR"]["mse"]) / 2
    )
    gramians = read_gramians(run)
    # Every second update, and the last of the epoch.
    assert gramians["updates"].tolist() == [1, 3, 5, 6]
    assert np.isfinite(gramians["gramian"]).all()
    assert json.loads((run / "status.json").read_text())["state"] == "done"


def test_a_seed_reproduces_the_log_byte_for_byte(tmp_path: Path) -> None:
    logs = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert train(tmp_path / name, "method=pivrg", f"seed={seed}") == 0
        logs.append((only_run(tmp_path / name) / "metrics.jsonl").read_bytes())
    assert logs[0] == logs[1]
    assert logs[0] != logs[2]


INTERRUPTED = '''
import os, signal
from mtrl.supervised.problems.digits import Digits


class Interrupting(Digits):
    """Sends a signal in the middle of the second epoch, once."""

    def data(self, split, seed):
        data = super().data(split, seed)
        return Counting(data, {marker!r}) if split == "train" else data


class Counting:
    def __init__(self, data, marker):
        self.data, self.marker, self.batches = data, marker, 0

    def __len__(self):
        return len(self.data)

    def __getitem__(self, indices):
        self.batches += 1
        if self.batches == 5 and not os.path.exists(self.marker):
            open(self.marker, "w").close()
            os.kill(os.getpid(), signal.SIGTERM)
        return self.data[indices]
'''


@pytest.mark.parametrize("method", ["pivrg", "famo", "sam_gs"])
def test_a_signal_within_an_epoch_and_a_resume_change_nothing(
    tmp_path: Path, method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    marker = tmp_path / "interrupted"
    file = tmp_path / "interrupting.py"
    file.write_text(INTERRUPTED.format(marker=str(marker)))
    arguments = [f"problem={file}:Interrupting", "problem_options.pairs=96", f"method={method}",
                 "recipe.epochs=3"]  # fmt: skip
    marker.touch()
    assert train(tmp_path / "whole", *arguments) == 0
    marker.unlink()
    assert train(tmp_path / "cut", *arguments) == 75
    run, whole = only_run(tmp_path / "cut"), only_run(tmp_path / "whole")
    assert "--resume" in capsys.readouterr().err
    state = checkpoint.load_latest(run / "checkpoints")[1]["trainer"]
    assert (state["epoch"], state["batches_done"]) == (1, 2), "it stops within the epoch"
    assert json.loads((run / "status.json").read_text())["state"] == "interrupted"

    assert main(["supervised", "--resume", str(run)]) == 0
    assert (run / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    assert (run / "gramians.bin").read_bytes() == (whole / "gramians.bin").read_bytes()
    ours, theirs = final(run), final(whole)
    assert {k: v for k, v in ours.items() if k != "wall_s"} == {
        k: v for k, v in theirs.items() if k != "wall_s"
    }


def test_kill_and_resume_end_in_the_same_log(tmp_path: Path) -> None:
    arguments = ["method=nash_mtl", "recipe.epochs=30", "run.checkpoint_interval_epochs=1"]
    assert train(tmp_path / "whole", *arguments) == 0
    base = tmp_path / "killed"
    command = [
        sys.executable,
        "-m",
        "mtrl",
        "supervised",
        *SMALL,
        f"run.directory={base}",
        *arguments,
    ]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and len(list(base.glob("*/checkpoints/step_*"))) < 2:
        time.sleep(0.01)
    process.kill()
    process.wait()
    run = only_run(base)
    assert not (run / "eval" / "final.json").exists(), "the run should die in the middle"
    assert main(["supervised", "--resume", str(run)]) == 0
    whole = only_run(tmp_path / "whole")
    assert (run / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


COUNTING = """
import torch
from mtrl.supervised import Metric, Task
from mtrl.supervised.problems.digits import Digits

SEEN = Metric("seen", True, lambda p, t: torch.tensor([float(len(p))]).double(), lambda s: s[0])

class Counted(Digits):
    baseline = None
    def __init__(self):
        super().__init__(pairs=96)
        self.tasks = tuple(Task(t.name, t.loss, (SEEN,)) for t in self.tasks)
        self.baseline = None
"""


def test_accumulators_are_fresh_for_every_split_and_epoch(tmp_path: Path) -> None:
    """Released code leaks test data into the training metrics here. A metric that counts samples."""
    file = tmp_path / "counted.py"
    file.write_text(COUNTING)
    arguments = [
        *SMALL[4:],
        f"problem={file}:Counted",
        f"run.directory={tmp_path}",
        "recipe.epochs=3",
    ]
    assert main(["supervised", *arguments, "recipe.batch_size=32"]) == 0
    run = only_run(tmp_path)
    for record in read_jsonl(run / "metrics.jsonl"):
        assert (record["train/seen/CL"], record["val/seen/CL"]) == (96, 24)
    assert final(run)["test"][0]["metrics"]["CL"]["seen"] == 24


def test_single_tasks_feed_delta_m_and_pivrg(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path / "stl", "method=stl") == 0
    runs = sorted(path.parent.name for path in (tmp_path / "stl").glob("*/config.yaml"))
    assert ["-CL-" in runs[0], "-RR-" in runs[1]] == [True, True]
    (baseline,) = (tmp_path / "stl").glob("*.json")
    content = json.loads(baseline.read_text())
    values, seed = content["values"], content["seed"]
    runs = [path.parent for path in (tmp_path / "stl").glob(f"*-s{seed}-*/config.yaml")]
    assert content["manifest"] in [RunDirectory(run).provenance() for run in runs]
    assert {"git", "versions", "created"} <= set(content["manifest"])
    assert set(values) == {"CL", "RR"}
    assert f"baseline=[{baseline}]" in capsys.readouterr().out

    other = [f"baseline=[{baseline}]", "problem_options.variant=CL_CR"]
    assert train(tmp_path / "other", *other) == 2
    assert "has no accuracy of CR" in capsys.readouterr().err
    foreign = tmp_path / "foreign.json"
    foreign.write_text(baseline.read_text().replace("digits", "multimnist"))
    assert train(tmp_path / "other", f"baseline=[{foreign}]") == 2
    assert "is of 'multimnist'" in capsys.readouterr().err

    assert train(tmp_path / "pivrg", "method=pivrg", f"baseline=[{baseline}]") == 0
    run = only_run(tmp_path / "pivrg")
    (test,) = final(run)["test"]
    expected = 100 * (test["metrics"]["RR"]["mse"] - values["RR"]["mse"]) / values["RR"]["mse"]
    assert test["drops"]["RR"]["mse"] == pytest.approx(expected)
    first, second = read_jsonl(run / "metrics.jsonl")
    assert [first[f"balance/omega/{t}"] for t in ("CL", "RR")] == [1.0, 1.0], "nothing known yet"
    behind = np.array([first[f"val/drop/{t}"] for t in ("CL", "RR")])
    tau = max(np.ptp(behind) / np.log(2), 10.0)
    omega = 2 * np.exp(behind / tau) / np.exp(behind / tau).sum()
    assert [second[f"balance/omega/{t}"] for t in ("CL", "RR")] == pytest.approx(omega)


def test_one_single_task_alone(tmp_path: Path) -> None:
    assert train(tmp_path, "method=stl", "task=RR") == 0
    assert set(final(only_run(tmp_path))["test"][0]["metrics"]) == {"RR"}


def test_fixed_weights_come_from_a_run(tmp_path: Path) -> None:
    assert train(tmp_path / "nash", "method=nash_mtl", "recipe.epochs=4") == 0
    log = only_run(tmp_path / "nash") / "metrics.jsonl"
    mean = None
    for record in read_jsonl(log):
        row = np.array([record["balance/weight/CL"], record["balance/weight/RR"]])
        mean = row if mean is None else 0.9 * mean + 0.1 * row
    options = ["method=fixed", f"method_options.log={log}"]
    assert train(tmp_path / "fixed", *options) == 0
    record = read_jsonl(only_run(tmp_path / "fixed") / "metrics.jsonl")[-1]
    found = [record["balance/weight/CL"], record["balance/weight/RR"]]
    assert mean is not None
    assert found == pytest.approx(2 * mean / mean.sum())


@pytest.mark.parametrize("method", ["rgb", "pcgrad", "ls"])
def test_the_epoch_of_the_lowest_loss_is_reported_with_its_balance(
    tmp_path: Path, method: str
) -> None:
    # One record between epochs would be too rare: the last update of each is recorded as well.
    rare = "run.diagnostics_interval_updates=1000"
    assert train(tmp_path, f"method={method}", "recipe.epochs=3", rare) == 0
    run = only_run(tmp_path)
    records, result = read_jsonl(run / "metrics.jsonl"), final(run)
    lowest = min(records, key=lambda record: record["val/mean_loss"])
    assert result["lowest_loss"]["epoch"] == lowest["epochs"]
    raw = ("raw_mer_balance", "raw_conflict", "raw_condition_number")
    for name in ("mer_balance", "conflict", "proximity", "condition_number", *raw):
        assert result["lowest_loss"][f"balance/{name}"] == lowest[f"balance/{name}"]
        assert all(np.isfinite(record[f"balance/{name}"]) for record in records)
    adjusts = method != "ls"
    # At these sizes both tasks may agree in a batch; then PCGrad changes nothing.
    conflicting = any(record["balance/conflict_rate"] > 0 for record in records)
    turned = [record["balance/proximity"] > 1e-12 for record in records]
    assert any(turned) == (adjusts and (method == "rgb" or conflicting))
    same = [r["balance/conflict"] == r["balance/raw_conflict"] for r in records]
    assert all(same) == (not any(turned))
    best = min(records, key=lambda record: record["val/delta_m"])
    assert result["selected_epoch"] == best["epochs"]


def test_toys_leave_their_end_points(tmp_path: Path) -> None:
    arguments = [
        "-c",
        "supervised/toy",
        "method=mgda",
        "recipe.epochs=3",
        f"run.directory={tmp_path}",
    ]
    assert main(["supervised", *arguments]) == 0
    run = only_run(tmp_path)
    ends = json.loads((run / "end_points.json").read_text())
    last = read_jsonl(run / "metrics.jsonl")[-1]
    assert len(ends) == 5
    for i, end in enumerate(ends):
        assert end["theta"] == [last[f"start{i}/x"], last[f"start{i}/y"]]
        assert end["losses"] == pytest.approx(
            [last[f"start{i}/loss/left"], last[f"start{i}/loss/right"]]
        )
        assert end["theta"] != end["start"]


@pytest.mark.parametrize("end", ["interrupted", "died"])
def test_a_toy_resumes_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    arguments = ["-c", "supervised/toy", "method=famo", "recipe.epochs=30"]
    arguments += ["run.diagnostics_interval_updates=4", "run.checkpoint_interval_epochs=10"]
    assert main(["supervised", *arguments, f"run.directory={tmp_path / 'whole'}"]) == 0
    step = Descent.step

    def stopped(self: Descent) -> tuple[torch.Tensor, torch.Tensor]:
        if self.updates == 25:  # a record was written after the last checkpoint
            if end == "died":
                raise MemoryError
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self)

    cut = [*arguments, f"run.directory={tmp_path / 'cut'}"]
    with monkeypatch.context() as patch:
        patch.setattr(Descent, "step", stopped)
        if end == "died":
            with pytest.raises(MemoryError):
                main(["supervised", *cut])
        else:
            assert main(["supervised", *cut]) == 75
    run = only_run(tmp_path / "cut")
    assert main(["supervised", "--resume", str(run)]) == 0
    whole = only_run(tmp_path / "whole")
    assert (run / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    assert (run / "end_points.json").read_bytes() == (whole / "end_points.json").read_bytes()


def test_toys_have_no_single_tasks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["supervised", "-c", "supervised/toy", "method=stl"]) == 2
    assert "minima of a toy's losses are known" in capsys.readouterr().err


def test_betas_of_a_recipe_reach_the_optimiser(tmp_path: Path) -> None:
    assert train(tmp_path, "method=ls", "recipe.betas=[0.5, 0.75]", "recipe.epochs=1") == 0
    state = checkpoint.load_latest(only_run(tmp_path) / "checkpoints")[1]["learners"][0]
    assert state["optimizer"]["param_groups"][0]["betas"] == [0.5, 0.75]
    assert train(tmp_path, "method=ls", "recipe.betas=[0.5, 1.0]") == 2


def test_all_methods_are_trained_in_one_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path, "method=all", "recipe.epochs=1", "problem_options.pairs=32") == 0
    methods = {path.parent.name.split("-")[1] for path in tmp_path.glob("*/config.yaml")}
    assert methods == set(METHODS) - {"fixed"}, "fixed has no weights of its own"
    ranked = capsys.readouterr().out.splitlines()[-len(methods) :]
    assert {line.split()[0] for line in ranked} == methods
    deltas = [float(line.split()[2]) for line in ranked]
    assert deltas == sorted(deltas)


def test_a_grid_trains_every_combination(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = ["method=sam_gs", "grid.seed=[0, 1]", "grid.method_options.threshold=[0.0, 0.9]"]
    assert train(tmp_path, *grid, "recipe.epochs=1") == 0
    yaml = YAML(typ="safe")
    found = set()
    for path in tmp_path.glob("*/config.yaml"):
        config = yaml.load(path)
        assert config["grid"] == {}
        found.add((config["seed"], config["method_options"]["threshold"]))
    assert found == {(0, 0.0), (0, 0.9), (1, 0.0), (1, 0.9)}
    assert "sam_gs seed=1 method_options.threshold=0.9" in capsys.readouterr().out


def test_the_table_of_mer_is_one_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*SMALL, f"run.directory={tmp_path}", "recipe.epochs=1"]
    preset = ["-c", "supervised/ablation/rgb_mer"]
    assert main(["supervised", *preset, *arguments[2:]]) == 0
    out = capsys.readouterr().out.splitlines()
    start = out.index("at the lowest mean validation loss:")
    head, *lines = out[start + 1 : start + 8]
    assert head.split() == " ".join(COLUMNS).split()
    found = {line.split()[0] + line.split("inner_steps=")[-1].split()[0] for line in lines}
    assert found == {
        "graddropgraddrop", "gradvacgradvac", "pcgradpcgrad", "rgb5", "rgb30", "rgb50",
    }  # fmt: skip
    mer = [float(line.split()[-2]) for line in lines]
    assert mer == sorted(mer, reverse=True)
    assert all(0 < value <= 0.5**0.5 + 1e-3 for value in mer)


def test_rows_of_the_mer_table_are_means_over_runs() -> None:
    def run(proximity: float, balance: float) -> dict:
        keys = ("conflict", "condition_number", "raw_mer_balance")
        facts = {f"balance/{key}": 0.25 for key in keys}
        facts |= {"balance/proximity": proximity, "balance/mer_balance": balance}
        return {"loss": 0.5, "val/delta_m": 3.0, **facts}

    unrecorded = {"loss": 0.5, "val/delta_m": 3.0}
    groups = {"low": [run(0.0, 0.3)], "high": [run(0.1, 0.4), run(0.4, 0.6)], "none": [unrecorded]}
    high, low = balance_rows(groups)
    # 2 asin sqrt(1/4) is 60 degrees.
    assert high == ["high", "3.0", "0.5000", "0.250", "2.5e-01", "60.00", "0.25", "0.500", "0.250"]
    assert low[0] == "low"
    assert low[5] == "0.00"
    assert balance_rows({"none": [unrecorded]}) == []


def test_cases_of_a_grid_set_keys_together() -> None:
    cases = [{"method": "ls"}, {"method": "rgb", "method_options.inner_steps": 5}]
    points = grid_points({"cases": cases, "seed": [0, 1]})
    assert points == [{**case, "seed": seed} for case in cases for seed in (0, 1)]
    for wrong in (["ls"], [{}]):
        with pytest.raises(ValueError, match=r"`grid\.cases` should be a list of settings"):
            grid_points({"cases": wrong})


def test_results_pages_are_made_from_kept_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (0, 1):
        assert train(tmp_path / "runs", "method=ls", f"seed={seed}", "recipe.epochs=1") == 0
    rgb = ["method=rgb", "grid.method_options.inner_steps=[1, 2]", "recipe.epochs=1"]
    assert train(tmp_path / "more", *rgb) == 0
    folder = tmp_path / "page"
    for base in ("runs", "more", "more"):  # adding keeps what is there; twice changes nothing
        runs = [RunDirectory(path.parent) for path in (tmp_path / base).glob("*/config.yaml")]
        (file,) = add_runs(folder, runs)
    rows = json.loads(file.read_text())["runs"]
    names = [("ls epochs=1 batch_size=32", 0), ("ls epochs=1 batch_size=32", 1)]
    names += [(f"rgb inner_steps={n} epochs=1 batch_size=32", 0) for n in (1, 2)]
    assert [(row["method"], row["seed"]) for row in rows] == names
    text = supervised_page(folder)
    line = next(line for line in text.splitlines() if line.startswith("| ls "))
    deltas = [row["test"][0]["delta_m"] for row in rows[:2]]
    error = abs(deltas[0] - deltas[1]) / 2
    assert f"{sum(deltas) / 2:.1f} ± {error:.1f} |" in line
    assert line.endswith("| 2 |")
    mer = [row["lowest_loss"]["balance/mer_balance"] for row in rows[:2]]
    balance = [line for line in text.splitlines() if line.startswith("| ls ")][1]
    assert f"| {sum(mer) / 2:.3f} |" in balance
    content = json.loads(file.read_text())
    manifest = json.loads((only_of(tmp_path / "runs", 0) / "manifest.json").read_text())
    assert content["manifest"]["git"] == manifest["git"]
    assert content["manifest"]["versions"]["torch"] in text
    content["manifest"]["git"] = {"commit": "0123456789abcdef", "dirty": False}
    content["runs"][0]["manifest"]["git"] = {"commit": "fedcba9876543210", "dirty": True}
    content["runs"][1]["manifest"]["git"] = None
    file.write_text(json.dumps(content))
    assert "commit 012345678, fedcba987 with changes, unknown." in supervised_page(folder)
    assert folder.with_suffix(".png").stat().st_size > 10_000

    assert train(tmp_path / "stl", "method=stl", "task=CL", "recipe.epochs=1") == 0
    with pytest.raises(RunDirectoryError, match="no single-task results"):
        add_runs(folder, [RunDirectory(only_run(tmp_path / "stl"))])
    capsys.readouterr()


def test_damaged_data_is_one_clear_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for part in ("train", "t10k"):
        for kind in ("images-idx3", "labels-idx1"):
            (tmp_path / f"{part}-{kind}-ubyte").write_bytes(b"<html>moved</html>")
    arguments = [
        "problem=multimnist",
        f"data_root={tmp_path}",
        f"run.directory={tmp_path / 'runs'}",
    ]
    assert main(["supervised", *arguments]) == 2
    said = capsys.readouterr().err
    assert "Cannot read the data of 'multimnist'" in said
    assert "magic number 2051" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        (["problem=digit"], 2, ["Unknown problem 'digit'", "'digits'"]),
        (["problem_options.variants=CL"], 2, ["no option 'variants'", "'variant'"]),
        (["problem_options.variant=CL_XX"], 2, ["should join tasks"]),
        (["problem_options.pairs=many"], 2, ["'pairs'", "should be a whole number. Found 'many'"]),
        (["method=nash"], 2, ["Unknown balancing method 'nash'"]),
        (["method=nash_mtl", "method_options.steps=3"], 2, ["no option 'steps'"]),
        (["method=fixed", "method_options.weights=[1, 2, 3]"], 2, ["should be 2 finite numbers"]),
        (["method=stl", "task=CR"], 2, ["`task` should be one of CL, RR, or all"]),
        (["task=CL"], 2, ["goes with `method=stl`"]),
        (["method=all", "method_options.seed=1"], 2, ["belong to one method"]),
        (["problem=multimnist"], 2, ["data_root=FOLDER"]),
        (["problem=multimnist", "data_root=/nowhere"], 2, ["train-images-idx3-ubyte", "/nowhere"]),
        (["problem=nowhere.py:Thing"], 2, ["nowhere.py", "does not exist"]),
        (["baseline=[nowhere.json]"], 2, ["nowhere.json", "method=stl"]),
        (["device=cuda"], 2, ["torch finds no GPU"]),
        (["grid.seed=3"], 2, ["`grid.seed` should be a list"]),
        (["grid.seeds=[1]"], 2, ["Unknown key `seeds`"]),
        (["recipe.epochs=0"], 2, ["`recipe.epochs`"]),
        (["recipe.epoch=1"], 2, ["'recipe.epochs'"]),
        (["--resume", "nowhere"], 2, ["not a run directory"]),
    ],
)  # fmt: skip
def test_wrong_input_is_refused_before_any_run(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    expected: list,
) -> None:
    if arguments[0] == "--resume":
        assert main(["supervised", *arguments]) == code
    else:
        assert train(tmp_path, *arguments) == code
    said = capsys.readouterr().err
    for part in expected:
        assert part in said
    assert not list(tmp_path.glob("*/config.yaml")), "nothing was started"


def test_a_loss_that_is_not_finite_stops_the_run_with_a_dump(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "broken.py"
    file.write_text(
        "from mtrl.supervised.problems.digits import Digits\n"
        "class Broken(Digits):\n"
        "    def data(self, split, seed):\n"
        "        data = super().data(split, seed)\n"
        "        data.inputs[5] = float('nan')\n"
        "        return data\n"
    )
    assert train(tmp_path, f"problem={file}:Broken", "problem_options.pairs=96") == 1
    run = only_run(tmp_path)
    assert "not finite" in capsys.readouterr().err
    assert json.loads((run / "status.json").read_text())["state"] == "failed"
    state = checkpoint.load_latest(run / "dump")[1]
    assert torch.isnan(state["batch"][0]).any()
    assert all(torch.isfinite(v).all() for v in state["learners"][0]["model"].values())


def test_a_run_that_fails_does_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # A step of 1e30 is finite at first; a small one trains on.
    grid = "grid.recipe.learning_rate=[1e30, 1e-3]"
    assert train(tmp_path, "method=ls", grid, "recipe.epochs=4") == 1
    states = {json.loads(path.read_text())["state"] for path in tmp_path.glob("*/status.json")}
    assert states == {"failed", "done"}
    assert "not finite" in capsys.readouterr().err


def test_a_run_shows_in_the_list_of_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path, "method=ls") == 0
    capsys.readouterr()
    assert main(["runs", str(tmp_path), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["state"], row["updates"]) == ("done", 6)
    assert row["delta_m"] == pytest.approx(final(only_run(tmp_path))["test"][0]["delta_m"])
    assert main(["runs", str(tmp_path)]) == 0
    assert "delta_m" in capsys.readouterr().out


def test_a_signal_ends_with_code_75(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mtrl", "supervised", *SMALL, f"run.directory={tmp_path}",
               "recipe.epochs=100000", "run.checkpoint_interval_epochs=1"]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list(tmp_path.glob("*/checkpoints/step_*")):
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75, errors
    assert "mtrl supervised --resume" in errors
