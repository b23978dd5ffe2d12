"""Rollout workers for benchmarks: Ray actors with the policy inside."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from mtrl.distributed.cluster import ray_session
from mtrl.distributed.collector import RayCollector
from mtrl.distributed.config import RayConfig
from mtrl.envs import TaskSet
from mtrl.rl.acting.policy import acting_policy, flat_weights
from mtrl.rl.config import NetworkConfig

CHUNK = 50
"""Steps of each environment in a rollout."""


@contextlib.contextmanager
def ray_workers(tasks: TaskSet, networks: NetworkConfig, count: int) -> Iterator[RayCollector]:
    """An embedded Ray with so many workers, each with an environment of every task and a policy."""
    with ray_session(RayConfig()):
        collector = RayCollector(
            tasks, networks, num_workers=count, rollout_steps=CHUNK, seed=0, cpus_per_worker=0.1
        )
        collector.wait_until_ready()
        collector.publish(flat_weights(acting_policy(tasks, networks).actor), 0)
        yield collector
        collector.close()


def through_ray(collector: RayCollector, workers: int, steps: int, m: int) -> float:
    """Environment steps per second of the first so many workers, two rollouts in flight each."""
    left = dict.fromkeys(range(workers), steps // CHUNK)
    start, received = time.perf_counter(), 0
    while received < workers * (steps // CHUNK):
        for worker in left:
            while left[worker] and collector.in_flight(worker) < 2:
                collector.request(worker, "policy")
                left[worker] -= 1
        received += len(collector.receive(block=True, ordered=False))
    return received * CHUNK * m / (time.perf_counter() - start)
