"""`mtrl bench NAME` runs each bench, and prints what others read."""

from __future__ import annotations

import json

import pytest

from mtrl.bench import BENCHES
from mtrl.cli import main

ONE_TASK = ["--tasks", "reach-v3"]
TINY = ["--tasks", "2", "--width", "8", "--batch", "4", "--rounds", "2"]


def run(capsys: pytest.CaptureFixture[str], name: str, *options: str) -> dict:
    """The one JSON object that a bench prints, with machine and options in it."""
    assert main(["bench", name, *options, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["machine"]["command"].startswith(f"mtrl bench {name} ")
    assert {"git", "date", "processor", "cores", "load", "torch"} <= result["machine"].keys()
    assert result["options"]
    return result


@pytest.mark.parametrize(
    ("name", "options", "columns"),
    [
        ("env", ["--blocks", "2", "--floor"], {"original/fast", "fast/floor"}),
        ("reset", ["--resets", "2"], {"fast/original", "identical"}),
    ],
)
def test_environments(
    name: str, options: list[str], columns: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    result = run(capsys, name, *ONE_TASK, *options)
    assert [row["task"] for row in result["tasks"]] == ["reach-v3"]
    assert columns <= result["tasks"][0].keys()
    assert columns <= result["mean"].keys()


def test_the_table_names_each_task(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "reset", "--tasks", "reach-v3,push-v3", "--resets", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[-3:]] == ["reach-v3", "push-v3", "mean"]


def test_learner(capsys: pytest.CaptureFixture[str]) -> None:
    result = run(capsys, "learner", *TINY, "--layer-norm", "--dtype", "float64")
    ways = {"plain sum", "task gradients", "combined", "own rows", "m backward"}
    assert ways == result["ms"].keys()
    ratios = {"task gradients/plain sum", "combined/plain sum"}
    ratios |= {"own rows/task gradients", "m backward/task gradients"}
    assert all(result[ratio] > 0 for ratio in ratios)
    assert result["largest relative difference"] < 1e-12
    assert {"tasks": 2, "width": 8, "layer_norm": True}.items() <= result["options"].items()


def test_update(capsys: pytest.CaptureFixture[str]) -> None:
    result = run(capsys, "update", *TINY, "--count-ops", "--published", "--methods", "nash_mtl")
    names = [record["method"] for record in result["methods"]]
    assert names == ["ls", "nash_mtl", "pivrg, m backward, scipy"]
    assert result["methods"][0]["method/ls"] == 1.0
    assert all(record["ops"] > 100 and record["ms"] > 0 for record in result["methods"])


def test_solver(capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--tasks", "3", "--matrices", "2", "--reference", "1", "--rounds", "1"]
    result = run(capsys, "solver", *few)
    assert {record["kind"] for record in result["results"]} == result["kinds"].keys()
    assert result["residual_max"] < 1e-6
    assert result["speedup_min"] > 0


def test_omega(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "omega.png"
    result = run(capsys, "omega", "--draws", "3", "--picture", str(picture))
    assert picture.stat().st_size > 10_000
    assert str(tmp_path) not in result["machine"]["command"]
    assert {row["estimate"] for row in result["rows"]} == result["equal"].keys()


def test_gpu_runs_call_by_call_on_a_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--device", "cpu", "--updates", "2", *TINY, "--precision", "bf16"]
    result = run(capsys, "gpu", *options)
    assert {record["way"] for record in result["methods"]} == {"call by call"}
    assert result["difference"] == 0.0  # the CPU agrees with itself
    assert all(record["ms"] > 0 for record in result["methods"])


def test_rollout(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["--widths", "8", "--envs-per-task", "1,2", "--chunk", "5", "--chunks", "2"]
    result = run(capsys, "rollout", *ONE_TASK, *sizes)
    assert [(row["width"], row["envs per task"]) for row in result["widths"]] == [(8, 1), (8, 2)]
    assert all(min(r["loop"], r["steps"], r["loop/steps"]) > 0 for r in result["widths"])


def test_train(capsys: pytest.CaptureFixture[str]) -> None:
    small = ["schedule.total_env_steps=1000000", "networks.actor=[8]", "networks.critic=[8]"]
    result = run(capsys, "train", "--seconds", "1", "-c", "fake", *small)
    assert min(result["env steps/s"], result["updates/s"], result["seconds"]) > 0
    assert result["time/gradients"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "key", "columns"),
    [
        (
            "ray", ["--chunks", "5,10", "--rollouts", "1", "--turns", "1"],
            "chunks", {"chunk", "rollouts", "actor s", "overhead %"},
        ),
        (
            "scaling", ["--steps", "50", "--turns", "1"],
            "ways", {"way", "env steps/s", "over first", "over async", "over async fast"},
        ),
        (
            "ingest", ["--rollouts", "10", "--updates", "1", "--batch", "4"],
            "modelled", {"updates per transition", "transitions/s", "cores"},
        ),
    ],
    ids=["ray", "scaling", "ingest"],
)  # fmt: skip
def test_through_ray(
    name: str, options: list[str], key: str, columns: set[str], capsys: pytest.CaptureFixture[str]
) -> None:
    result = run(capsys, name, *ONE_TASK, "--width", "8", *options)
    assert result[key]
    assert all(row.keys() == columns for row in result[key])


def test_an_unknown_bench_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "updaet"]) == 2
    assert "There is no bench 'updaet'. Did you mean 'update'?" in capsys.readouterr().err


def test_an_unknown_task_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "reset", "--tasks", "reach-v3,pusch-v3"]) == 2
    assert "Unknown task 'pusch-v3'" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["all", *BENCHES])
def test_help_explains_the_bench_and_its_options(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["bench", name, "--help"])
    assert caught.value.code == 0
    said = capsys.readouterr().out
    assert f"usage: mtrl bench {name}" in said
    assert len(said.splitlines()) > 10


def test_help_lists_all_benches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["bench", "--help"])
    said = capsys.readouterr().out
    assert all(f"  {name} " in said for name in ["all", *BENCHES])
