"""Time resets: the fast classes, which settle once, against Meta-World's own, which settle twice.

Both versions reset to the same goals in turns, and each pair of observations is compared. The figures
are 25 % quantiles of the thread's CPU time per reset.
"""

from __future__ import annotations

import dataclasses
import statistics
from typing import Any

import numpy as np

from mtrl.bench.bench_options import Simulation, option
from mtrl.bench.text_table import text_table
from mtrl.bench.timing import lower_quartile, thread_seconds
from mtrl.envs.metaworld import MetaWorldTask, generate_goals

STEPS_BETWEEN = 10  # random actions, so that resets start from different states


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Simulation):
    """Options of `mtrl bench reset`."""

    resets: int = option(20, "per task")


def measure(options: Options) -> dict[str, Any]:
    """Milliseconds per reset of each task, and their means."""
    names = options.task_names()
    rows = [time_task(name, options.resets, options.seed) for name in names]
    mean: dict[str, Any] = {
        key: statistics.fmean(row[key] for row in rows)
        for key in ("original", "fast", "fast/original")
    }
    mean["identical"] = all(row["identical"] for row in rows)
    return {"unit": "ms per reset", "tasks": rows, "mean": mean}


def show(result: dict[str, Any]) -> str:
    """A row per task and one of means."""
    return text_table([*result["tasks"], {"task": "mean", **result["mean"]}])


def time_task(name: str, resets: int, seed: int) -> dict[str, Any]:
    """Milliseconds per reset of each version, and whether their observations are identical."""
    rng = np.random.default_rng(seed)
    goals = generate_goals(name, resets, np.random.SeedSequence(seed))
    tasks = {
        "original": MetaWorldTask(name, fast=False),
        "fast": MetaWorldTask(name, fast=True),
    }
    times: dict[str, list[float]] = {version: [] for version in tasks}
    identical = True
    for goal in goals:
        observations = []
        actions = rng.uniform(-1, 1, (STEPS_BETWEEN, 4)).astype(np.float32)
        for version, task in tasks.items():
            seconds = thread_seconds(lambda task=task: observations.append(task.reset(goal)))  # noqa: B023
            times[version].append(1e3 * seconds)
            for action in actions:
                task.step(action)
        identical &= observations[0].tobytes() == observations[1].tobytes()
    original, fast = (lower_quartile(values) for values in times.values())
    return {
        "task": name,
        "original": original,
        "fast": fast,
        "fast/original": fast / original,
        "identical": identical,
    }
