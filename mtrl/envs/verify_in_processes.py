"""Share a comparison of environments out among processes, and keep a record of it."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

from mtrl.envs.verify import Difference, Report, verify


def verify_in_processes(
    names: Sequence[str],
    steps: int,
    processes: int,
    progress: Callable[[str, Difference | None], None],
) -> Report:
    """Compare fast and original environments of each task over `steps` steps.

    Args:
        names: of the tasks.
        steps: per task.
        processes: that share the tasks; 1 compares in this process.
        progress: called after each task with its name and its first difference.
    """
    whole = Report()
    for name, found in zip(names, _reports(names, steps, processes), strict=True):
        whole.steps |= found.steps
        whole.episodes |= found.episodes
        whole.exceptions |= found.exceptions
        whole.differences += found.differences
        progress(name, next(iter(found.differences), None))
    return whole


def record(report: Report) -> dict[str, Any]:
    """The totals of a comparison and an entry per task, for JSON."""
    different = {difference.task: str(difference) for difference in report.differences}
    tasks = [
        {
            "task": name,
            "steps": steps,
            "resets": report.episodes[name],
            "same exceptions": report.exceptions.get(name, 0),
            "difference": different.get(name, ""),
        }
        for name, steps in report.steps.items()
    ]
    return {
        "tasks compared": len(tasks),
        "steps": sum(report.steps.values()),
        "resets": sum(report.episodes.values()),
        "tasks that differ": len(different),
        "tasks": tasks,
    }


def _reports(names: Sequence[str], steps: int, processes: int) -> Iterator[Report]:
    compare = partial(verify, steps=steps)
    tasks = [[name] for name in names]
    if processes == 1:
        yield from map(compare, tasks)
        return
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(compare, tasks)
