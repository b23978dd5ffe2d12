"""The pool of processes: several at a time, each run once, whatever is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mtrl.errors import MtrlError
from tests.unit.experiments import fake_jobs
from tests.unit.experiments.fake_jobs import folders, runs, starts

NAMES = ["a", "b", "c"]


def order(sweep: Path, what: str) -> None:
    temporary = sweep / "order.tmp"
    temporary.write_text(what)
    temporary.replace(sweep / fake_jobs.ORDER)


def states(sweep: Path) -> list[str]:
    return [folder.status()["state"] for folder in folders(sweep, NAMES)]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "nothing happened for half a minute"
        time.sleep(0.02)


@contextlib.contextmanager
def in_background(sweep: Path, slots: int) -> Iterator[subprocess.Popen[str]]:
    """A sweep as a process of its own; it and its jobs are gone afterwards."""
    command = [sys.executable, "-m", fake_jobs.MODULE, "sweep", str(sweep), str(slots), *NAMES]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        yield process
    finally:
        order(sweep, "done")
        process.kill()
        process.communicate()
        until(lambda: not any(folder.lives() for folder in folders(sweep, NAMES)))


def test_jobs_run_once_and_failures_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    order(tmp_path, "fail b")
    assert fake_jobs.sweep(tmp_path, NAMES, 2) == 1
    assert states(tmp_path) == ["done", "failed", "done"]
    said = capsys.readouterr().err
    assert "b: failed. error: the loss is not finite [/tmp]" in said
    assert "done 2 of 3 | running 0 | failed 1 | waiting 0" in said
    assert "\n$ " not in folders(tmp_path, NAMES)[0].log.read_text(), "it was started once"

    order(tmp_path, "done")  # the same command tries the failed one again, and no other
    assert fake_jobs.sweep(tmp_path, NAMES, 2) == 0
    assert states(tmp_path) == ["done"] * 3
    assert [starts(tmp_path, name) for name in NAMES] == [["new"], ["new", "resumed"], ["new"]]
    assert [len(runs(tmp_path, name)) for name in NAMES] == [1, 1, 1]


def test_a_signal_stops_the_jobs_with_their_state(tmp_path: Path) -> None:
    order(tmp_path, "work")
    with in_background(tmp_path, slots=2) as process:
        until(lambda: states(tmp_path)[:2] == ["running"] * 2)
        assert states(tmp_path)[2] == "waiting", "two at a time"
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        process.wait(60)
        assert states(tmp_path) == ["interrupted", "interrupted", "waiting"]
    assert fake_jobs.sweep(tmp_path, NAMES, 3) == 0
    assert [starts(tmp_path, name) for name in NAMES] == [["new", "resumed"]] * 2 + [["new"]]


def test_a_killed_sweep_finds_its_jobs_again(tmp_path: Path) -> None:
    """Of two that the sweep left behind, one works on and one is killed, too."""
    order(tmp_path, "work")
    with in_background(tmp_path, slots=2) as process:
        until(lambda: states(tmp_path)[:2] == ["running"] * 2)
        process.kill()
        process.wait()
        assert states(tmp_path)[:2] == ["running"] * 2
        with in_background(tmp_path, slots=2) as second:
            assert second.stderr is not None
            assert second.stderr.readline() == "a: its process runs already; waiting for it\n"
            second.stderr.readline()
            pid = folders(tmp_path, NAMES)[1].pid()
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            until(lambda: starts(tmp_path, "b") == ["new", "resumed"])
            until(lambda: states(tmp_path)[1] == "running")
            order(tmp_path, "done")
            assert second.wait(60) == 0
    assert states(tmp_path) == ["done"] * 3
    assert [starts(tmp_path, name) for name in NAMES] == [["new"], ["new", "resumed"], ["new"]]
    assert [len(runs(tmp_path, name)) for name in NAMES] == [1, 1, 1]


def test_a_signal_reaches_the_jobs_of_a_killed_sweep(tmp_path: Path) -> None:
    order(tmp_path, "work")
    with in_background(tmp_path, slots=1) as process:
        until(lambda: states(tmp_path)[0] == "running")
        process.kill()
        process.wait()
        with in_background(tmp_path, slots=1) as second:
            assert second.stderr is not None
            second.stderr.readline()
            second.send_signal(signal.SIGTERM)
            second.wait(60)
        assert states(tmp_path) == ["interrupted", "waiting", "waiting"]


def test_a_process_without_a_run_is_found_by_its_log(tmp_path: Path) -> None:
    """A sweep may die while its job still imports torch."""
    (folder,) = folders(tmp_path, ["a"])
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    process = folder.start(lambda *_: sleep, {})
    assert process is not None
    try:
        assert folder.status() == {"state": "waiting"}
        assert folder.lives()
        assert folder.start(lambda *_: sleep, {}) is None, "it is not started twice"
    finally:
        process.kill()
        process.wait()
    assert not folder.lives()


def test_a_run_without_a_checkpoint_begins_anew(tmp_path: Path) -> None:
    order(tmp_path, "fail a")
    assert fake_jobs.sweep(tmp_path, ["a"], 1) == 1
    (run,) = runs(tmp_path, "a")
    (run.checkpoints / "step_1").rmdir()
    order(tmp_path, "done")
    assert fake_jobs.sweep(tmp_path, ["a"], 1) == 0
    assert starts(tmp_path, "a") == ["new", "new"]
    assert len(runs(tmp_path, "a")) == 1


def test_two_sweeps_do_not_share_a_directory(tmp_path: Path) -> None:
    from mtrl.experiments.plan import make_plan
    from mtrl.experiments.sweep import sweep
    from mtrl.runs.directory import RunDirectory

    first = RunDirectory(tmp_path)
    first.acquire()
    plan = make_plan("train", ["fake"], [], methods="ls", seeds="0")
    try:
        with pytest.raises(MtrlError, match="in use by another process"):
            sweep(plan, str(tmp_path), 1, print)
    finally:
        first.release()


def test_as_many_at_a_time_as_cpus_allow() -> None:
    from mtrl.experiments.plan import make_plan
    from mtrl.experiments.sweep import count_slots

    local = make_plan("train", ["fake"], [], methods="ls", seeds="0..3")
    assert [count_slots(local, cpus) for cpus in (1, 2, 8)] == [1, 2, 8]
    workers = ["collect.collector=ray", "collect.num_workers=2"]
    ray = make_plan("train", ["fake"], workers, methods="ls", seeds="0..3")
    assert [count_slots(ray, cpus) for cpus in (1, 2, 8)] == [1, 1, 2]
