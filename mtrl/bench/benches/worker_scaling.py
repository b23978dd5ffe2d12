"""Measure environment steps per second of 1, 2, ... workers against lockstep in subprocesses.

Workers are Ray actors with the policy inside, each with an environment of every task. The reference
is the usual way: Gymnasium's AsyncVectorEnv, a process per task, all in lockstep, and one batched
forward pass of the same policy in the driver. It runs once with Meta-World's original classes, as
others do, and once with the fast classes of the workers, so that only the way of stepping differs.
All take turns on the same cores and rest while the others step. Figures are wall time: other load on
the machine counts.

    mtrl bench scaling
    mtrl bench scaling --tasks reach-v3,push-v3 --steps 50 --turns 1
"""

from __future__ import annotations

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from mtrl.bench.bench_options import Layers, Simulation, option
from mtrl.bench.ray_workers import plural, ray_workers, steps_per_second
from mtrl.bench.text_table import text_table
from mtrl.bench.timing import paired_ratio, take_turns
from mtrl.envs import TaskSet, load_tasks
from mtrl.envs.config import EnvConfig
from mtrl.rl.acting.policy import ActingPolicy, acting_policy
from mtrl.rl.config import NetworkConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Layers, Simulation):
    """Options of `mtrl bench scaling`."""

    workers: tuple[int, ...] = option((1, 2), "numbers of workers")
    steps: int = option(400, "of each environment in a turn")
    turns: int = option(5, "of each way of stepping")


def measure(options: Options) -> dict[str, Any]:
    """A record per way of stepping."""
    torch.set_num_threads(1)
    sets = {
        kind: load_tasks(EnvConfig(tasks=options.task_names(), fast=kind == "fast"))
        for kind in ("original", "fast")
    }
    processes = {  # they are forked before Ray starts its threads
        kind: gym.vector.AsyncVectorEnv(
            [functools.partial(_build, tasks, i) for i in range(len(tasks))]
        )
        for kind, tasks in sets.items()
    }
    networks = NetworkConfig(options.widths, options.widths)
    policy = acting_policy(sets["fast"], networks)
    with ray_workers(sets["fast"], networks, max(options.workers), options.seed) as collector:
        ways: dict[str, Callable[[], float]] = {
            plural(count): functools.partial(
                steps_per_second, collector, count, options.steps, len(sets["fast"])
            )
            for count in options.workers
        }
        lockstep_steps = max(10, options.steps // 5)  # it is slow
        for kind, envs in processes.items():
            ways[f"async {kind}"] = functools.partial(lockstep, envs, policy, lockstep_steps)
        rates = take_turns(ways, options.turns)
    for envs in processes.values():
        envs.close()
    first = next(iter(rates))
    records = [
        {
            "way": way,
            "env steps/s": statistics.median(values),
            "over first": paired_ratio(values, rates[first]),
            "over async": paired_ratio(values, rates["async original"]),
            "over async fast": paired_ratio(values, rates["async fast"]),
        }
        for way, values in rates.items()
    ]
    return {"ways": records}


def show(result: dict[str, Any]) -> str:
    """A row per way of stepping."""
    return text_table(result["ways"])


def lockstep(envs: gym.vector.VectorEnv, policy: ActingPolicy, steps: int) -> float:
    """Environment steps per second of subprocesses in lockstep."""
    rng = np.random.default_rng(0)
    obs, _ = envs.reset()
    start = time.perf_counter()
    for _ in range(steps):
        noise = rng.standard_normal((envs.num_envs, 4), dtype=np.float32)
        obs, *_ = envs.step(policy.act(obs.astype(np.float32), noise))
    return steps * envs.num_envs / (time.perf_counter() - start)


def _build(tasks: TaskSet, index: int) -> gym.Env:
    return tasks.build(index, index)
