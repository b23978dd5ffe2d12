"""What a job has on disk: its run, its log, and the lock that says whether its process lives."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mtrl.experiments.plan import Job
from mtrl.runs.directory import RunDirectory, is_locked, list_runs

Command = Callable[[Job, Path, RunDirectory | None], list[str]]
"""The command line of a job, from the job, the folder for its run, and the run to resume, if any."""


class JobFolder:
    """The files of a job in a sweep's directory: `runs/JOB/RUN/` and `logs/JOB.txt`.

    The job's process holds a lock on its log from its first moment until it ends, whatever happens to
    the sweep that started it. So a process that has made no run directory yet is found, too.

    Args:
        job: of the plan.
        sweep: the sweep's directory.
    """

    def __init__(self, job: Job, sweep: Path) -> None:
        self.job = job
        self.runs = sweep / "runs" / job.name
        self.log = sweep / "logs" / f"{job.name}.txt"

    @property
    def name(self) -> str:
        """The job's name."""
        return self.job.name

    def run(self) -> RunDirectory | None:
        """The job's run; None if it has none yet."""
        found = list_runs(self.runs)
        return found[-1] if found else None

    def status(self) -> dict[str, Any]:
        """The status of the job's run, see `RunDirectory.status`; `waiting` if it has no run."""
        run = self.run()
        return {"state": "waiting"} if run is None else run.status()

    def lives(self) -> bool:
        """Whether a process works on the job, started by this sweep, an earlier one or by hand."""
        return is_locked(self.log) or self.status()["state"] == "running"

    def pid(self) -> int | None:
        """The process that trains the job's run; None if it is not known."""
        status = self.status()
        return status["pid"] if status["state"] == "running" else None

    def start(
        self, command: Command, environment: Mapping[str, str]
    ) -> subprocess.Popen[bytes] | None:
        """Start the job, or go on with its run; None if a process works on it already.

        A run without a checkpoint cannot go on. It is deleted, and the job begins anew.

        Args:
            command: makes the command line.
            environment: of the process.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a") as log:
            try:
                # The process inherits this lock with its output, and releases it by ending.
                fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return None
            run = self.run()
            if run is not None and run.status()["state"] == "running":
                return None
            if run is not None and not run.has_checkpoint:
                shutil.rmtree(run.path)
                run = None
            words = command(self.job, self.runs, run)
            print("$", *words, file=log, flush=True)
            return _spawn(words, log.fileno(), environment)

    def last_line(self) -> str:
        """The last line of the log that says something."""
        try:
            lines = self.log.read_text(errors="replace").splitlines()
        except OSError:
            return ""
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _spawn(
    words: Sequence[str], output: int, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env={**os.environ, **environment},
        # Ctrl-C in the terminal would reach it beside the sweep's signal, and a second one ends a run.
        start_new_session=True,
    )
