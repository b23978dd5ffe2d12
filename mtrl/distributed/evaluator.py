"""RayEvaluator: evaluates on one worker beside training, and in full on several workers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray.exceptions import RayError, RayTaskError

from mtrl.distributed.waiting import Patience, WorkersFailedError, to_stderr
from mtrl.distributed.worker import EvaluationWorker
from mtrl.envs import TaskSet
from mtrl.rl.acting.evaluation import Evaluation, merge
from mtrl.rl.config import NetworkConfig
from mtrl.runs.interrupt import Interrupt

_LIMIT_S = 4 * 3600.0  # for one evaluation
_ATTEMPTS = 3  # at a shard of a full evaluation


@dataclass
class _Shard:
    goals: list[int]
    worker: Any = None
    answer: Any = None  # object reference
    attempts: int = 0
    result: Evaluation | None = None


class RayEvaluator:
    """See `mtrl.rl.acting.interfaces.Evaluator`.

    Args:
        tasks: names and goals, for each worker.
        networks: of the policy, for each worker.
        goals: how many goals a periodic evaluation tries.
        shards: workers that share a full evaluation.
        cpus_per_worker: CPUs that each reserves in a full evaluation; the periodic worker reserves
            none, because it idles most of the time.
        interrupt: a blocked wait ends when a signal arrives.
        say: shows a message about a wait that takes long.
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
        say: Callable[[str], None] = to_stderr,
    ) -> None:
        self._tasks = ray.put(tasks)
        self._networks = networks
        self._num_goals = tasks.num_goals
        self._goals = list(range(min(goals, tasks.num_goals)))
        self._shards = max(1, min(shards, tasks.num_goals))
        self._cpus = cpus_per_worker
        self._interrupt = interrupt or Interrupt()
        self._say = say
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
        """The finished periodic evaluation, once. A worker that died loses that evaluation only.

        Raises:
            WorkersFailedError: the worker failed, or did not answer.
        """
        if self._pending is None:
            return None
        env_steps, answer = self._pending
        if not self._wait([answer], block):
            return None
        self._pending = None
        result = self._result(answer)
        if result is None:
            ray.kill(self._worker)
            self._worker = None
            return None
        return env_steps, result

    def full(self, weights: NDArray[np.float32], version: int) -> Evaluation:
        """Every goal once per task, spread over the shards; each takes every k-th goal.

        After an interrupt the result is empty; the caller looks at the signal. The shard of a worker
        that dies is tried again by another.

        Raises:
            WorkersFailedError: a worker failed, did not answer, or a shard's workers died three times.
        """
        self.close()
        reference = ray.put(weights)
        shards = [
            _Shard(list(range(i, self._num_goals, self._shards))) for i in range(self._shards)
        ]
        try:
            while open_shards := [shard for shard in shards if shard.result is None]:
                for shard in open_shards:
                    self._start(shard, reference, version)
                if not self._wait([shard.answer for shard in open_shards], block=True):
                    return Evaluation([], [], 0, version)
                for shard in open_shards:
                    shard.result = self._result(shard.answer)
            return merge([shard.result for shard in shards if shard.result is not None])
        finally:
            for shard in shards:
                if shard.worker is not None:
                    ray.kill(shard.worker)

    def close(self) -> None:
        """End the periodic worker."""
        if self._worker is not None:
            ray.kill(self._worker)
        self._worker = self._pending = None

    def _start(self, shard: _Shard, weights: Any, version: int) -> None:
        if shard.attempts == _ATTEMPTS:
            raise WorkersFailedError(
                f"Evaluation workers died {_ATTEMPTS} times at the same goals. The run is saved:"
                " `mtrl eval RUN` evaluates it once the machine is well."
            )
        if shard.worker is not None:  # where only the answer was lost, it still lives
            ray.kill(shard.worker)
        shard.attempts += 1
        shard.worker = self._spawn(self._cpus)
        shard.answer = shard.worker.run.remote(weights, version, shard.goals)

    def _result(self, answer: Any) -> Evaluation | None:
        """The evaluation, or None where the worker is dead or the answer was lost with its node."""
        try:
            return ray.get(answer)
        except RayTaskError as error:
            raise WorkersFailedError(f"An evaluation worker failed.\n{error}") from error
        except RayError:
            return None

    def _wait(self, answers: list[Any], block: bool) -> bool:
        patience = Patience(_LIMIT_S, self._say)
        while True:
            ready, _ = ray.wait(answers, num_returns=len(answers), timeout=1.0 if block else 0)
            if len(ready) == len(answers):
                return True
            if not block or self._interrupt.signal is not None:
                return False
            patience.check(f"{len(answers) - len(ready)} of {len(answers)} evaluation workers")

    def _spawn(self, cpus: float) -> Any:
        worker: Any = EvaluationWorker
        return worker.options(num_cpus=cpus).remote(self._tasks, self._networks)
