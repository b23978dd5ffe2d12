"""Rollout workers for benches: Ray actors with the policy inside."""

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

IN_FLIGHT = 2
"""Rollouts of each worker that are requested and not yet received."""


@contextlib.contextmanager
def ray_workers(
    tasks: TaskSet, networks: NetworkConfig, count: int, seed: int = 0
) -> Iterator[RayCollector]:
    """An embedded Ray with so many workers; each has the policy and an environment of every task."""
    with ray_session(RayConfig()):
        collector = RayCollector(
            tasks, networks, num_workers=count, rollout_steps=CHUNK, seed=seed, cpus_per_worker=0.1
        )
        collector.start()
        collector.publish(flat_weights(acting_policy(tasks, networks).actor), 0)
        yield collector
        collector.close()


def steps_per_second(collector: RayCollector, workers: int, steps: int, m: int) -> float:
    """Environment steps per second of the first so many workers.

    Args:
        collector: of these and other workers.
        workers: that step; the others rest.
        steps: of each environment.
        m: number of tasks.
    """
    left = dict.fromkeys(range(workers), steps // CHUNK)
    free = list(range(workers)) * IN_FLIGHT  # one entry per rollout that may be requested
    start, received = time.perf_counter(), 0
    while received < workers * (steps // CHUNK):
        for worker in free:
            if left[worker]:
                collector.request(worker, "policy")
                left[worker] -= 1
        rollouts = collector.receive(block=True, ordered=False)
        free = [rollout.worker for rollout in rollouts]
        received += len(rollouts)
    return received * CHUNK * m / (time.perf_counter() - start)


def plural(count: int) -> str:
    """`1 worker`, `2 workers`."""
    return f"{count} worker{'s' * (count > 1)}"
