"""`mtrl sweep` on real runs: killed with its runs, continued by the same command, each run made once."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mtrl.cli import main
from mtrl.runs.directory import RunDirectory, list_runs

OPTIONS = [
    "-c", "fake", "run.tensorboard=false", "schedule.total_env_steps=1200",
    "schedule.warmup_env_steps=300", "networks.actor=[8]", "networks.critic=[8]",
    "sac.batch_size=4", "run.checkpoint_interval_env_steps=150", "env.num_goals=2",
    "evaluation.interval_env_steps=0", "evaluation.goals=2",
]  # fmt: skip


def runs(sweep: Path) -> dict[str, list[RunDirectory]]:
    return {folder.name: list_runs(folder) for folder in (sweep / "runs").glob("*")}


def test_a_killed_sweep_continues_and_makes_each_run_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = [f"run.directory={tmp_path}", "--methods", "ls,pcgrad", "--seeds", "0..1"]
    words = ["sweep", *OPTIONS, *base, "--jobs", "2"]
    sweep = tmp_path / "sweeps" / "fake"
    process = subprocess.Popen(
        [sys.executable, "-m", "mtrl", *words], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list(sweep.glob("runs/*/*/checkpoints/step_*")):
        time.sleep(0.02)
    process.kill()
    process.wait()
    for run in [run for found in runs(sweep).values() for run in found]:
        if (status := run.status())["state"] == "running":
            with contextlib.suppress(ProcessLookupError):
                os.kill(status["pid"], signal.SIGKILL)
    begun = {name: [run.path for run in found] for name, found in runs(sweep).items()}

    assert main(words) == 0
    said = capsys.readouterr().out
    assert said.count("success") == 4
    assert "All 4 runs are done" in said
    ended = runs(sweep)
    assert sorted(ended) == ["ls-s0", "ls-s1", "pcgrad-s0", "pcgrad-s1"]
    assert [len(found) for found in ended.values()] == [1] * 4
    assert {run.status()["state"] for (run,) in ended.values()} == {"done"}
    kept = [name for name, paths in begun.items() if paths == [ended[name][0].path]]
    assert kept, "a run with a checkpoint went on in its own directory"
    finals = {name: json.loads((run.path / "eval" / "final.json").read_text())
              for name, (run,) in ended.items()}  # fmt: skip
    assert all(final["goals"] == [0, 1] for final in finals.values())

    before = {path: path.stat().st_mtime_ns for path in sweep.glob("runs/*/*/*.json")}
    assert main(words) == 0, "nothing is left to do"
    assert before == {path: path.stat().st_mtime_ns for path in sweep.glob("runs/*/*/*.json")}
    assert main([*words, "sac.batch_size=5"]) == 2
    assert "its `sac.batch_size` is 4, and yours is 5" in capsys.readouterr().err


def test_a_wrong_job_stops_a_sweep_before_it_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--methods", "ls,pcgrda", "--seeds", "0", f"run.directory={tmp_path / 'runs'}"]
    assert main(["sweep", "-c", "fake", *words]) == 2
    assert "Job pcgrda-s0" in capsys.readouterr().err
    assert main(["sweep", "-c", "fake", "--methods", "ls", "--seeds", "0", "--jobs", "0"]) == 2
    assert "`--jobs` should be at least 1" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
