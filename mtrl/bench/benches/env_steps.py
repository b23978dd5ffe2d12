"""Time environment steps: the fast classes against Meta-World's own, and against bare physics.

Blocks of 25 steps take turns: original, fast and, with `--floor`, the MuJoCo steps and forward passes
alone. All have the same goals and random actions. The figures are 25 % quantiles of the thread's CPU
time per step.

    mtrl bench env --floor
"""

# pyright: reportAttributeAccessIssue=false
# (mujoco is a compiled module without type stubs)

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable
from typing import Any

import mujoco
import numpy as np

from mtrl.bench.bench_options import Simulation, option
from mtrl.bench.text_table import text_table
from mtrl.bench.timing import lower_quartile, thread_seconds
from mtrl.envs.metaworld import MetaWorldTask, generate_goals

BLOCK = 25
EPISODE = 450  # steps between resets; a multiple of BLOCK below the library's limit


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Simulation):
    """Options of `mtrl bench env`."""

    blocks: int = option(40, "blocks of 25 steps per task")
    floor: bool = option(False, "time the bare physics, too")


def measure(options: Options) -> dict[str, Any]:
    """Microseconds per step and ratios: of each task, their means, and the ratios of the mean times."""
    rows: list[dict[str, Any]] = []
    for name in options.task_names():
        times = time_task(name, options.blocks, options.floor, options.seed)
        rows.append({"task": name, **times, **_ratios(times)})
    means = {key: statistics.fmean(row[key] for row in rows) for key in rows[0] if key != "task"}
    # The ratio of the means is the gain in steps per second where all tasks step equally often.
    return {"unit": "us per step", "tasks": rows, "mean": means, "of_means": _ratios(means)}


def show(result: dict[str, Any]) -> str:
    """A row per task, and two rows of means."""
    mean = result["mean"]
    of_means = {"task": "of means", **mean, **result["of_means"]}
    return text_table([*result["tasks"], {"task": "mean", **mean}, of_means])


def time_task(name: str, blocks: int, floor: bool, seed: int) -> dict[str, float]:
    """Microseconds per step of each version."""
    rng = np.random.default_rng(seed)
    goals = generate_goals(name, 10, np.random.SeedSequence(seed))
    tasks = {
        "original": MetaWorldTask(name, fast=False),
        "fast": MetaWorldTask(name, fast=True),
    }
    if floor:
        tasks["floor"] = MetaWorldTask(name, fast=True)
    times: dict[str, list[float]] = {version: [] for version in tasks}
    for block in range(blocks + 1):
        if block * BLOCK % EPISODE == 0:
            goal = goals[rng.integers(len(goals))]
            for task in tasks.values():
                task.reset(goal)
        actions = rng.uniform(-1, 1, (BLOCK, 4)).astype(np.float32)
        for version, task in tasks.items():
            call = _physics(task.sim, actions) if version == "floor" else _steps(task.sim, actions)
            seconds = thread_seconds(call)
            if block:  # the first one warms caches up
                times[version].append(1e6 * seconds / BLOCK)
    return {version: lower_quartile(values) for version, values in times.items()}


def _steps(sim: Any, actions: np.ndarray) -> Callable[[], None]:
    def run() -> None:
        for action in actions:
            sim.step(action)

    return run


def _physics(sim: Any, actions: np.ndarray) -> Callable[[], None]:
    """What MuJoCo must do for these actions; the path of the mocap body is worked out before."""
    model, data = sim.model, sim.data
    path, position = [], data.mocap_pos[0].copy()
    for action in actions:
        position = np.clip(position + action[:3] * sim.action_scale, sim.mocap_low, sim.mocap_high)
        path.append(position)
    mocap, ctrl, skip = data.mocap_pos[0], data.ctrl, sim.frame_skip
    grips = [(action[-1], -action[-1]) for action in actions]

    def run() -> None:
        for position, grip in zip(path, grips, strict=True):
            mocap[:] = position
            ctrl[:] = grip
            mujoco.mj_step(model, data, nstep=skip)
            mujoco.mj_forward(model, data)

    return run


def _ratios(times: dict[str, float]) -> dict[str, float]:
    ratios = {"original/fast": times["original"] / times["fast"]}
    if "floor" in times:
        ratios["fast/floor"] = times["fast"] / times["floor"]
    return ratios
