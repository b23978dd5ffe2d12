"""RayEvaluator: evaluates beside training on a worker of its own, and in full on several."""

from __future__ import annotations

from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray.exceptions import RayActorError

from mtrl.distributed.worker import EvaluationWorker
from mtrl.envs import TaskSet
from mtrl.rl.config import NetworkConfig
from mtrl.rl.evaluate import Evaluation, merge
from mtrl.runs.interrupt import Interrupt


class RayEvaluator:
    """See `mtrl.rl.evaluate.Evaluator`.

    Args:
        tasks, networks: what a worker needs to act.
        goals: how many goals a periodic evaluation tries.
        shards: workers that share a full evaluation.
        cpus_per_worker: CPUs that each reserves in a full evaluation; the periodic worker reserves
            none, because it idles most of the time.
        interrupt: a blocked wait ends when a signal arrives.
    """

    def __init__(
        self,
        tasks: TaskSet,
        networks: NetworkConfig,
        *,
        goals: int,
        shards: int,
        cpus_per_worker: float = 1.0,
        interrupt: Interrupt | None = None,
    ) -> None:
        self._tasks, self._networks = ray.put(tasks), networks
        self._num_goals = tasks.num_goals
        self._goals = list(range(min(goals, tasks.num_goals)))
        self._shards = max(1, min(shards, tasks.num_goals))
        self._cpus = cpus_per_worker
        self._interrupt = interrupt or Interrupt()
        self._worker: Any = None
        self._pending: tuple[int, Any] | None = None

    def submit(self, weights: NDArray[np.float32], version: int, env_steps: int) -> None:
        """Begin a periodic evaluation; dropped while the last one is still running."""
        if self._pending is not None:
            return
        if self._worker is None:
            self._worker = self._spawn(0.0)
        self._pending = env_steps, self._worker.run.remote(weights, version, self._goals)

    def poll(self, *, block: bool = False) -> tuple[int, Evaluation] | None:
        """The finished periodic evaluation, once. A worker that died loses that evaluation only."""
        if self._pending is None:
            return None
        env_steps, answer = self._pending
        if not self._wait([answer], block):
            return None
        self._pending = None
        try:
            return env_steps, ray.get(answer)
        except RayActorError:
            self._worker = None
            return None

    def full(self, weights: NDArray[np.float32], version: int) -> Evaluation:
        """Every goal once per task, spread over the shards; each takes every k-th goal.

        After an interrupt the result is empty; the caller looks at the signal.
        """
        self.close()
        workers = [self._spawn(self._cpus) for _ in range(self._shards)]
        reference = ray.put(weights)
        answers = [
            worker.run.remote(reference, version, list(range(i, self._num_goals, self._shards)))
            for i, worker in enumerate(workers)
        ]
        try:
            if not self._wait(answers, block=True):
                return Evaluation([], [], 0, version)
            return merge(ray.get(answers))
        finally:
            for worker in workers:
                ray.kill(worker)

    def close(self) -> None:
        """End the periodic worker."""
        if self._worker is not None:
            ray.kill(self._worker)
        self._worker = self._pending = None

    def _wait(self, answers: list[Any], block: bool) -> bool:
        while True:
            ready, _ = ray.wait(answers, num_returns=len(answers), timeout=1.0 if block else 0)
            if len(ready) == len(answers):
                return True
            if not block or self._interrupt.signal is not None:
                return False

    def _spawn(self, cpus: float) -> Any:
        worker: Any = EvaluationWorker
        return worker.options(num_cpus=cpus).remote(self._tasks, self._networks)
