"""Time a worker's loop (policy, noise, buffers, bookkeeping) against its environments' bare steps.

There are two sets of the same environments with the same goals. The worker steps all of the first set
in lockstep. Then the second set steps bare, in the same order and with the actions that the worker
took, so that both do the same physics. Turns alternate between numbers of environments, too. Resets
count on neither side. The figures are CPU microseconds per environment step and the median ratio.

    mtrl bench rollout                         6 GB: 20 MB for each environment, twice
    mtrl bench rollout --envs-per-task 4 --widths 400 --chunk 100 --chunks 4
"""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import numpy as np
import torch

from mtrl.bench.bench_options import Simulation, option
from mtrl.bench.text_table import text_table
from mtrl.bench.timing import lower_quartile, paired_ratio
from mtrl.envs import TaskSet, load_tasks
from mtrl.envs.config import EnvConfig
from mtrl.rl.acting.env_runner import EnvRunner
from mtrl.rl.acting.fragment import Rollout
from mtrl.rl.acting.policy import acting_policy, flat_weights
from mtrl.rl.config import NetworkConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Simulation):
    """Options of `mtrl bench rollout`."""

    widths: tuple[int, ...] = option((400, 1024), "of the policy's three layers")
    envs_per_task: tuple[int, ...] = option((1, 2, 4, 8), "environments of each task")
    chunk: int = option(200, "steps of each task in a turn")
    chunks: int = option(12, "turns")


def measure(options: Options) -> dict[str, Any]:
    """Times and ratios for each width and number of environments."""
    torch.set_num_threads(1)
    tasks = load_tasks(EnvConfig(tasks=options.task_names()))
    rows = [row for width in options.widths for row in measure_width(tasks, width, options)]
    return {"unit": "us per step", "widths": rows}


def show(result: dict[str, Any]) -> str:
    """A row per width and number of environments."""
    return text_table(result["widths"])


def measure_width(tasks: TaskSet, width: int, options: Options) -> list[dict[str, Any]]:
    """Microseconds per environment step of both, and their ratio, for each number of environments."""
    pairs = {
        envs: Pair(tasks, width, envs, max(1, options.chunk // envs), options.seed)
        for envs in options.envs_per_task
    }
    for number in range(options.chunks + 1):
        for pair in pairs.values():
            pair.turn(number)
    return [
        {
            "width": width,
            "envs per task": envs,
            "loop": lower_quartile(pair.loop),
            "steps": lower_quartile(pair.alone),
            "loop/steps": paired_ratio(pair.loop, pair.alone),
        }
        for envs, pair in pairs.items()
    ]


class ThreadClock:
    """Adds up the CPU time of calls to a function: of the resets within a turn."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def wrap(self, call: Any) -> Any:
        def timed(*args: Any, **options: Any) -> Any:
            start = time.thread_time()
            try:
                return call(*args, **options)
            finally:
                self.seconds += time.thread_time() - start

        return timed


def taken(rollout: Rollout, steps: int) -> tuple[np.ndarray, set[tuple[int, int]]]:
    """A rollout's actions `[T, n, action]`, and after which steps of which environment it reset."""
    # Fragments come in the order of environments, and each environment took all the steps.
    actions = np.concatenate([fragment.action for fragment in rollout.fragments])
    stops = np.cumsum([len(fragment) for fragment in rollout.fragments])
    ends = {
        ((int(stop) - 1) % steps, (int(stop) - 1) // steps)
        for stop, fragment in zip(stops, rollout.fragments, strict=True)
        if fragment.episode
    }
    return actions.reshape(-1, steps, actions.shape[-1]).swapaxes(0, 1), ends


class Pair:
    """A worker and a second set of its environments.

    Args:
        tasks: what they step.
        width: of the policy's three layers.
        envs: environments of each task.
        steps: of each environment in a turn.
        seed: of both.
    """

    def __init__(self, tasks: TaskSet, width: int, envs: int, steps: int, seed: int) -> None:
        policy = acting_policy(tasks, NetworkConfig([width] * 3, [width] * 3), envs)
        policy.load(flat_weights(policy.actor), 0)
        self.worker, self.bare = (
            EnvRunner(tasks, policy, seed=seed, envs_per_task=envs) for _ in range(2)
        )
        self.steps = steps
        self.resets = ThreadClock()
        for env in (*self.worker.envs, *self.bare.envs):
            env.reset = self.resets.wrap(env.reset)
        self.loop: list[float] = []
        self.alone: list[float] = []

    def turn(self, number: int) -> None:
        """Step the worker, then the other set; the first turn warms caches up."""
        self.resets.seconds, start = 0.0, time.thread_time()
        rollout = self.worker.rollout(self.steps, number)
        loop = time.thread_time() - start - self.resets.seconds
        actions, ends = taken(rollout, self.steps)
        self.resets.seconds, start = 0.0, time.thread_time()
        for step, row in enumerate(actions):
            for i, env in enumerate(self.bare.envs):
                env.step(row[i])
                if (step, i) in ends:
                    env.reset()
        alone = time.thread_time() - start - self.resets.seconds
        if number:
            self.loop.append(1e6 * loop / rollout.env_steps)
            self.alone.append(1e6 * alone / rollout.env_steps)
