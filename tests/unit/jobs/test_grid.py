"""Several runs by one command: what a signal and a failure do to the others."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from mtrl.errors import FAILED, INTERRUPTED, OK
from mtrl.jobs import grid, supervised
from mtrl.jobs.compose import compose
from mtrl.jobs.lifecycle import Job
from mtrl.runs.nan_guard import TrainingError
from mtrl.supervised.epoch_trainer import Outcome

End = tuple[Outcome, int | None]


def done(job: Job) -> End:
    return Outcome("done", {}, {"method": job.config.method}), None


def late_signal(job: Job) -> End:
    return done(job)[0], signal.SIGTERM


def interrupted(job: Job) -> End:
    return Outcome("interrupted", {}), signal.SIGTERM


def fails(job: Job) -> End:
    raise TrainingError("broken")


@pytest.mark.parametrize(
    ("second", "code", "shown", "ranked"),
    [
        (done, OK, ["ls", "rlw", "uw"], ["ls", "rlw", "uw"]),
        (fails, FAILED, ["ls", "uw"], ["ls", "uw"]),
        (interrupted, INTERRUPTED, ["ls"], []),
        (late_signal, 128 + signal.SIGTERM, ["ls", "rlw"], []),
    ],
)
def test_a_failure_does_not_stop_the_others_and_a_signal_does(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    second: Callable[[Job], End],
    code: int,
    shown: list[str],
    ranked: list[str],
) -> None:

    def run_job(job: Job) -> End:
        job.run.release()
        return (second if job.config.method == "rlw" else done)(job)

    monkeypatch.setattr(supervised, "run_job", run_job)
    overrides = ["grid.method=[ls, rlw, uw]", f"run.directory={tmp_path}"]
    files = ["supervised/toy"]
    points = grid.plan(compose("supervised", files, overrides), files, overrides)
    found: list[str] = []
    exit_code, results = grid.train(points, lambda result, _: result["method"], found.append)
    assert exit_code == code
    assert found == shown
    assert list(results) == ranked
