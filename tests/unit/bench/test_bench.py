"""The benchmarks run, and print what others read."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mtrl.envs import TaskSet

ROOT = Path(__file__).parents[2]
ONE_TASK = ["--tasks", "reach-v3"]
TINY = ["--tasks", "2", "--width", "8", "--batch", "4", "--rounds", "2"]


def _run(script: str, *options: str) -> str:
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / script), *options],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def _json(script: str, *options: str) -> dict:
    """The one JSON object that it prints, with the machine in it."""
    result = json.loads(_run(script, "--json", *options))
    assert result["machine"]["command"].startswith(f"scripts/{script} --json")
    assert {"git", "date", "processor", "cores", "load", "torch"} <= result["machine"].keys()
    return result


@pytest.mark.parametrize(
    ("script", "options", "columns"),
    [
        ("bench_env", ["--blocks", "2", "--floor"], {"original/fast", "fast/floor"}),
        ("bench_reset", ["--resets", "2"], {"fast/original", "identical"}),
    ],
    ids=["env", "reset"],
)
def test_environments(script: str, options: list[str], columns: set[str]) -> None:
    result = _json(script, *ONE_TASK, *options)

    assert [row["task"] for row in result["tasks"]] == ["reach-v3"]
    assert columns <= result["tasks"][0].keys()
    assert columns <= result["mean"].keys()


def test_table_names_each_task() -> None:
    text = _run("bench_reset", "--tasks", "reach-v3,push-v3", "--resets", "1")

    assert [line.split()[0] for line in text.splitlines()[-3:]] == ["reach-v3", "push-v3", "mean"]


def test_record_of_a_comparison() -> None:
    result = _json("verify_env", "--tasks", "reach-v3,drawer-close-v3", "--steps", "16")

    assert [row["task"] for row in result["tasks"]] == ["reach-v3", "drawer-close-v3"]
    assert all(row["steps"] == 16 and row["difference"] == "" for row in result["tasks"])
    assert (result["steps"], result["tasks that differ"]) == (32, 0)


def test_learner() -> None:
    result = _json("bench_learner", *TINY, "--layer-norm", "--dtype", "float64")

    ways = {"plain sum", "task gradients", "combined", "own rows", "m backward"}
    assert ways == result["ms"].keys()
    ratios = {"task gradients/plain sum", "combined/plain sum"}
    ratios |= {"own rows/task gradients", "m backward/task gradients"}
    assert all(result[ratio] > 0 for ratio in ratios)
    assert result["largest relative difference"] < 1e-12


def test_update() -> None:
    result = _json("bench_update", *TINY, "--count-ops", "--published", "--methods", "nash_mtl")

    names = [record["method"] for record in result["methods"]]
    assert names == ["ls", "nash_mtl", "pivrg, m backward, scipy"]
    assert result["methods"][0]["method/ls"] == 1.0
    assert all(record["ops"] > 100 and record["ms"] > 0 for record in result["methods"])


def test_gpu_bench_runs_call_by_call_on_a_cpu() -> None:
    result = _json("bench_gpu", "--device", "cpu", "--updates", "2", *TINY, "--precision", "bf16")

    assert {record["way"] for record in result["methods"]} == {"call by call"}
    assert result["difference"] == 0.0  # the CPU agrees with itself
    assert all(record["ms"] > 0 for record in result["methods"])


def test_rollout() -> None:
    sizes = ["--widths", "8", "--envs-per-task", "1,2", "--chunk", "5", "--chunks", "2"]
    result = _json("bench_rollout", *ONE_TASK, *sizes)

    assert [(row["width"], row["envs per task"]) for row in result["widths"]] == [(8, 1), (8, 2)]
    assert all(min(r["loop"], r["steps"], r["loop/steps"]) > 0 for r in result["widths"])


def test_both_sides_of_the_rollout_bench_take_the_same_steps(
    fake_tasks: TaskSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Actions, observations and resets of the worker's environments are those of the bare ones."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    bench = runpy.run_path(str(ROOT / "scripts" / "bench_rollout"))
    pair = bench["Pair"](fake_tasks, width=8, envs=2, steps=13, seed=0)
    sides = []
    for envs in (pair.worker.envs, pair.bare.envs):
        taken: list[list[tuple[list[float], ...]]] = [[] for _ in envs]
        for env, steps in zip(envs, taken, strict=True):
            monkeypatch.setattr(env, "step", remembering(env.step, steps))
        sides.append(taken)
    for number in range(4):  # 52 steps, over several resets
        pair.turn(number)
    worker, bare = sides
    assert [len(steps) for steps in worker] == [4 * 13] * 6
    assert worker == bare
    assert len(pair.loop) == len(pair.alone) == 3, "the first turn warms up"


def remembering(
    step: Callable[..., Any], seen: list[tuple[list[float], ...]]
) -> Callable[..., Any]:
    def call(action: np.ndarray) -> Any:
        result = step(action)
        seen.append((action.tolist(), result[0].tolist()))
        return result

    return call


def test_train() -> None:
    options = ["schedule.total_env_steps=1000000", "networks.actor=[8]", "networks.critic=[8]"]
    result = _json("bench_train", "--seconds", "1", "-c", "fake", *options)

    assert min(result["env steps/s"], result["updates/s"], result["seconds"]) > 0
    assert result["time/gradients"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "options", "key"),
    [
        ("bench_ray", ["--chunks", "5,10", "--rollouts", "1", "--turns", "1"], "chunks"),
        ("bench_scaling", ["--steps", "50", "--turns", "1"], "ways"),
        ("bench_ingest", ["--rollouts", "10", "--updates", "1", "--batch", "4"], "modelled"),
    ],
    ids=["ray", "scaling", "ingest"],
)
def test_through_ray(script: str, options: list[str], key: str) -> None:
    result = _json(script, *ONE_TASK, "--width", "8", *options)

    columns = {
        "chunks": {"chunk", "rollouts", "actor s", "overhead %"},
        "ways": {"way", "env steps/s", "over first", "over async", "over async fast"},
        "modelled": {"updates per transition", "transitions/s", "cores"},
    }
    assert result[key]
    assert all(row.keys() == columns[key] for row in result[key])
