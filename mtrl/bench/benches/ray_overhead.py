"""Measure what Ray adds to a rollout worker: wall time at the driver over time in the actor, less 1.

One worker steps real environments with the policy. Two rollouts are in flight, and after every answer
the driver puts a new version of the weights into the object store. The sizes of a rollout take turns.
Time in the actor is that of acting, stepping and resetting, so cutting fragments counts as overhead.

    mtrl bench ray
    mtrl bench ray --tasks reach-v3 --chunks 20 --rollouts 3 --turns 1
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from typing import Any

import torch

from mtrl.bench.bench_options import Layers, Simulation, option
from mtrl.bench.ray_workers import IN_FLIGHT, ray_workers
from mtrl.bench.text_table import text_table
from mtrl.distributed.collector import RayCollector
from mtrl.envs import load_tasks
from mtrl.envs.config import EnvConfig
from mtrl.rl.acting.policy import acting_policy, flat_weights
from mtrl.rl.config import NetworkConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Layers, Simulation):
    """Options of `mtrl bench ray`."""

    chunks: tuple[int, ...] = option((50, 200, 500), "steps of each environment in a rollout")
    rollouts: int = option(2, "of the largest size in a turn")
    turns: int = option(5, "of each size")


def measure(options: Options) -> dict[str, Any]:
    """A record per size of a rollout."""
    torch.set_num_threads(1)
    tasks = load_tasks(EnvConfig(tasks=options.task_names()))
    networks = NetworkConfig(options.widths, options.widths)
    weights = flat_weights(acting_policy(tasks, networks).actor)
    chunks = options.chunks
    # As many steps of each environment in a turn, whatever the size of a rollout.
    counts = {chunk: options.rollouts * max(chunks) // chunk for chunk in chunks}
    turns: dict[int, list[dict[str, float]]] = {chunk: [] for chunk in chunks}
    with ray_workers(tasks, networks, 1, options.seed) as collector:
        driver = Driver(collector, weights)
        for _ in range(options.turns):
            for chunk in chunks:
                turns[chunk].append(driver.turn(chunk, counts[chunk]))
    records = [
        {
            "chunk": chunk,
            "rollouts": options.turns * counts[chunk],
            "actor s": sum(turn["inside"] for turn in of_chunk),
            "overhead %": 100 * (statistics.median(t["wall"] / t["inside"] for t in of_chunk) - 1),
        }
        for chunk, of_chunk in turns.items()
    ]
    return {"chunks": records}


def show(result: dict[str, Any]) -> str:
    """A row per size of a rollout."""
    return text_table(result["chunks"])


class Driver:
    """Drives a collector of one worker as a training does."""

    def __init__(self, collector: RayCollector, weights: Any) -> None:
        self.collector = collector
        self.weights = weights
        self.version = 0
        self.in_flight = 0

    def turn(self, chunk: int, rollouts: int) -> dict[str, float]:
        """Wall seconds and seconds in the actor of so many rollouts, with rollouts always in flight."""
        self.collector.rollout_steps = chunk
        self._fill()
        self._next()
        start, inside = time.perf_counter(), 0.0
        for _ in range(rollouts):
            inside += self._next()
        wall = time.perf_counter() - start
        while self.in_flight:  # of this size, before the next turn
            self._receive()
        return {"wall": wall, "inside": inside}

    def _next(self) -> float:
        seconds = self._receive()
        self._fill()
        return seconds

    def _receive(self) -> float:
        (rollout,) = self.collector.receive(block=True, ordered=True)
        self.in_flight -= 1
        return sum(rollout.seconds.values())

    def _fill(self) -> None:
        self.version += 1
        self.collector.publish(self.weights, self.version)
        while self.in_flight < IN_FLIGHT:
            self.collector.request(0, "policy")
            self.in_flight += 1
