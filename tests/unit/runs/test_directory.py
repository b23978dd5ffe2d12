"""Run directories: naming, the lock, the status."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mtrl.runs.directory import RunDirectory, RunDirectoryError, list_runs


def test_runs_of_one_second_get_different_directories(tmp_path: Path) -> None:
    runs = [RunDirectory.create(tmp_path, "x", 0, "seed: 0") for _ in range(3)]
    paths = {run.path for run in runs}
    for run in runs:
        run.release()
    assert len(paths) == 3
    assert len(list_runs(tmp_path)) == 3


def test_a_directory_in_use_is_refused_and_freed_by_death(tmp_path: Path) -> None:
    path = RunDirectory.create(tmp_path, "x", 0, "seed: 0")
    path.release()
    code = (
        "import sys, time; from pathlib import Path; from mtrl.runs.directory import RunDirectory;"
        f"run = RunDirectory(Path({str(path.path)!r})); run.acquire(); run.write_status('running');"
        "print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    with pytest.raises(RunDirectoryError, match=f"in use by another process .pid {process.pid}."):
        RunDirectory(path.path).acquire()
    assert RunDirectory(path.path).status()["state"] == "running"
    process.kill()
    process.wait()
    process.stdout.close()
    assert RunDirectory(path.path).status()["state"] == "dead"
    again = RunDirectory(path.path)
    again.acquire()
    again.release()


def test_something_else_is_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="not a run directory"):
        RunDirectory.open(tmp_path)
