"""What `mtrl sweep` does: plan, keep the plan, run the jobs, show the table."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mtrl.errors import FAILED, INTERRUPTED, OK, ConfigError
from mtrl.experiments.job_folder import JobFolder
from mtrl.experiments.manifest import SweepError, keep_plan
from mtrl.experiments.plan import Job, Plan
from mtrl.experiments.pool import Pool
from mtrl.report.run_list import describe, runs_table
from mtrl.runs.directory import RunDirectory
from mtrl.runs.interrupt import Interrupt
from mtrl.runs.progress import make_view

Say = Callable[[str], None]
"""Prints a line of the result."""


def sweep(plan: Plan, directory: str | None, jobs: int | None, say: Say) -> int:
    """Run all jobs of a plan that are not done yet, and show what they reached.

    Args:
        plan: see `make_plan`.
        directory: of the sweep; None derives it from the configuration's name.
        jobs: number of jobs at a time; None takes as many as the CPUs allow.
        say: prints the table.

    Returns:
        The exit code of the command.

    Raises:
        ConfigError: `jobs` is not positive.
        SweepError: the directory holds another sweep or cannot be made.
        RunDirectoryError: another process works in it.
    """
    if jobs is not None and jobs < 1:
        raise ConfigError(f"`--jobs` should be at least 1. Found {jobs}.")
    path = default_directory(plan) if directory is None else Path(directory)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SweepError(f"Cannot make {path}: {error}. Name another `--directory`.") from error
    sweep_directory = RunDirectory(path)
    sweep_directory.acquire()
    try:
        keep_plan(sweep_directory, plan)
        return _run(plan, path, jobs, say)
    finally:
        sweep_directory.release()


def _run(plan: Plan, path: Path, jobs: int | None, say: Say) -> int:
    cpus = len(os.sched_getaffinity(0))
    slots = jobs or count_slots(plan, cpus)
    folders = [JobFolder(job, path) for job in plan.jobs]
    view = make_view()
    try:
        with Interrupt() as interrupt:
            view.message(f"Sweep of {len(folders)} runs, {slots} at a time: {path}")
            if jobs is None and slots == 1 and len(folders) > 1:
                view.message(_why_serial(plan, cpus))
            threads = os.environ.get("OMP_NUM_THREADS", str(max(1, cpus // slots)))
            pool = Pool(
                str(path),
                folders,
                slots,
                lambda job, base, run: command_line(plan, job, base, run),
                view,
                interrupt,
                {"OMP_NUM_THREADS": threads},
            )
            pool.run()
    finally:
        view.close()
    rows = [_row(folder, pool.failed) for folder in folders]
    say(runs_table(rows))
    left = sum(row["state"] != "done" for row in rows)
    for line in _what_next(path, len(rows), left, pool.failed):
        say(line)
    if pool.failed and interrupt.signal is None:
        return FAILED
    return INTERRUPTED if left else OK


def default_directory(plan: Plan) -> Path:
    """`runs/sweeps/NAME`, below the configuration's folder of runs."""
    config = plan.jobs[0].config
    name = config.run.name
    if plan.verb == "supervised":
        from mtrl.jobs.supervised import file_stem

        name = file_stem(config)
    return Path(config.run.directory) / "sweeps" / name


def count_slots(plan: Plan, cpus: int) -> int:
    """The number of jobs that may run at a time on so many CPUs; at least one."""
    return max(1, cpus // max(job.needs.cpus for job in plan.jobs))


def command_line(plan: Plan, job: Job, base: Path, run: RunDirectory | None) -> list[str]:
    """The command that trains a job.

    Args:
        plan: of the sweep.
        job: of the plan.
        base: folder for its run.
        run: to go on with; None for a new one.
    """
    start = [sys.executable, "-m", "mtrl", plan.verb]
    if run is not None:
        return [*start, "--resume", str(run.path)]
    files = [word for file in plan.files for word in ("-c", file)]
    return [*start, *files, *job.overrides, f"run.directory={json.dumps(str(base))}"]


def _why_serial(plan: Plan, cpus: int) -> str:
    needed = max(job.needs.cpus for job in plan.jobs)
    why = f"A run keeps {needed} CPUs busy" + (" (its workers and the learner)" * (needed > 1))
    advice = " collect.collector=local needs one CPU a run." if needed > 1 else ""
    return f"{why}, and this machine has {cpus}: one run at a time. `--jobs` overrides it.{advice}"


def _row(folder: JobFolder, failed: dict[str, str]) -> dict[str, Any]:
    """The row of a job in the table: that of its run, under the job's name."""
    run = folder.run()
    if run is not None:
        row = describe(run)
    else:
        unknown = dict.fromkeys(
            ("reason", "age_s", "env_steps", "updates", "success", "delta_m", "last_evaluation")
        )
        config = folder.job.config
        row = {**unknown, "method": config.method, "seed": config.seed, "state": "waiting"}
    if folder.name in failed:
        row |= {"state": "failed", "reason": row["reason"] or failed[folder.name]}
    return {**row, "name": folder.name}


def _what_next(path: Path, total: int, left: int, failed: dict[str, str]) -> list[str]:
    if not left:
        return [f"All {total} runs are done. They lie in {path / 'runs'}, a folder for each."]
    lines = []
    if failed:
        lines.append(f"{len(failed)} of {total} runs failed. Their output lies in {path / 'logs'}.")
    again = "tries the failed ones again" if left == len(failed) else "goes on"
    return [*lines, f"{left} of {total} runs are not done. The same command {again}."]
