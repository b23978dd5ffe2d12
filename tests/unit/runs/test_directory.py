"""Run directories: naming, the lock, the status."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mtrl.jobs import lifecycle
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


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDirectory]:
    run = RunDirectory.create(tmp_path, "x", 0, "seed: 0")
    yield run
    run.release()


def state_of(run: RunDirectory) -> str:
    return RunDirectory(run.path).status()["state"]


def test_a_run_of_this_host_lives_while_its_process_holds_the_lock(run: RunDirectory) -> None:
    run.write_status("running")
    assert state_of(run) == "running"
    set_status(run, heartbeat=time.time() - 3600)  # this process is busy, not dead
    assert state_of(run) == "running"
    run.release()
    assert state_of(run) == "dead"


def test_a_lock_without_its_process_is_no_life(run: RunDirectory) -> None:
    """A child that outlives the process may have inherited the lock."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    run.write_status("running")
    set_status(run, pid=process.pid)
    assert state_of(run) == "dead"


def test_a_run_of_another_host_lives_while_its_heartbeat_is_fresh(run: RunDirectory) -> None:
    """Neither its lock nor its process can be seen from here."""
    run.write_status("running")
    run.release()
    set_status(run, host="another-host", pid=2**22 + 1)
    assert state_of(run) == "running"
    set_status(run, heartbeat=time.time() - 3600)
    assert state_of(run) == "dead"
    set_status(run, state="done")
    assert state_of(run) == "done"


def test_a_session_s_heartbeat_goes_on_while_the_run_is_busy(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "_HEARTBEAT_S", 0.01)
    with lifecycle.training_session(run):
        run.write_status("running", env_steps=7)
        first = run.status()
        set_status(run, heartbeat=first["heartbeat"] - 3600)
        while run.status()["heartbeat"] < first["heartbeat"]:  # no call of the run in here
            time.sleep(0.01)
        assert run.status()["env_steps"] == 7
    with pytest.raises(RuntimeError), lifecycle.training_session(run):
        run.write_status("running", env_steps=8)
        raise RuntimeError("broken")
    status = run.status()
    assert (status["state"], status["env_steps"], status["error"]) == ("failed", 8, "broken")


def set_status(run: RunDirectory, **facts: object) -> None:
    path = run.path / "status.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))
