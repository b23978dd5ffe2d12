"""A sweep of tiny processes in place of runs; `python -m tests.unit.experiments.fake_jobs` is one.

Each process appends a line to `starts.txt` in its job's folder, makes a run directory as a real run does
(or opens the one to resume), and works until a file says how to end.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

from mtrl.experiments.job_folder import JobFolder
from mtrl.experiments.job_needs import Needs
from mtrl.experiments.plan import Job
from mtrl.experiments.pool import Pool
from mtrl.runs.directory import RunDirectory, list_runs
from mtrl.runs.interrupt import Interrupt
from mtrl.runs.progress import PlainView

MODULE = "tests.unit.experiments.fake_jobs"  # as a process of its own it has another name
ORDER = "order.txt"  # in the sweep's directory: what each process is to do


def folders(sweep: Path, names: list[str]) -> list[JobFolder]:
    return [JobFolder(Job(name, [], None, Needs(1, "updates", 10)), sweep) for name in names]


def make_pool(sweep: Path, names: list[str], slots: int, interrupt: Interrupt) -> Pool:
    def command(job: Job, base: Path, run: RunDirectory | None) -> list[str]:
        resumed = [] if run is None else [str(run.path)]
        return [sys.executable, "-m", MODULE, str(sweep), str(base), *resumed]

    view = PlainView(sys.stderr, every_s=0)
    return Pool("sweep", folders(sweep, names), slots, command, view, interrupt)


def starts(sweep: Path, name: str) -> list[str]:
    """What each process of a job was: `new` or `resumed`."""
    return (sweep / "runs" / name / "starts.txt").read_text().split()


def work(sweep: Path, base: Path, resumed: str | None) -> int:
    """What a process does: `done`, `fail` (JOB fails) or `work` until the order changes."""
    stopped = []
    signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
    base.mkdir(parents=True, exist_ok=True)
    with (base / "starts.txt").open("a") as file:
        file.write("resumed\n" if resumed else "new\n")
    if resumed:
        run = RunDirectory.open(Path(resumed))
        run.acquire()
    else:
        run = RunDirectory.create(base, base.name, 0, "a: 1")
        (run.checkpoints / "step_1").mkdir(parents=True)
    run.write_status("running", updates=5)
    while not stopped:
        order, *failing = (sweep / ORDER).read_text().split()
        if order == "done" or (order == "fail" and base.name not in failing):
            run.write_status("done", updates=10)
            return 0
        if order == "fail":
            print("error: the loss is not finite [/tmp]", file=sys.stderr)
            run.write_status("failed", error="the loss is not finite")
            return 1
        time.sleep(0.02)
    run.write_status("interrupted", updates=5)
    return 75


def sweep(folder: Path, names: list[str], slots: int) -> int:
    """Run a pool as the command does; returns the number of failed jobs."""
    with Interrupt() as interrupt:
        pool = make_pool(folder, names, slots, interrupt)
        pool.run()
    return len(pool.failed)


def runs(folder: Path, name: str) -> list[RunDirectory]:
    return list_runs(folder / "runs" / name)


if __name__ == "__main__":
    if sys.argv[1] == "sweep":
        sys.exit(sweep(Path(sys.argv[2]), sys.argv[4:], int(sys.argv[3])))
    sys.exit(work(Path(sys.argv[1]), Path(sys.argv[2]), (sys.argv[3:] or [None])[0]))
