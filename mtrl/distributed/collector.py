"""RayCollector: rollout workers as Ray actors; a dead one is replaced by its next incarnation."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray.exceptions import RayError, RayTaskError

from mtrl.distributed.waiting import Patience, WorkersFailedError, to_stderr
from mtrl.distributed.worker import RolloutWorker
from mtrl.envs import TaskSet
from mtrl.rl.acting.fragment import Rollout
from mtrl.rl.config import NetworkConfig
from mtrl.runs.interrupt import Interrupt

_POLL_S = 1.0
_LIMIT_S = 1800.0  # for one rollout, or for the start of all workers


@dataclass
class _Request:
    """A rollout that was asked for: enough to ask the worker's successor again."""

    explore: str
    weights: Any  # object reference
    version: int
    sequence: int
    order: int
    answer: Any = None  # object reference


@dataclass
class _Worker:
    actor: Any = None  # once started
    incarnation: int = 0
    next_sequence: int = 0
    state: dict[str, Any] | None = None
    requests: deque[_Request] = field(default_factory=deque)


class RayCollector:
    """See `mtrl.rl.acting.interfaces.Collector`.

    Args:
        tasks: names and goals, for each worker.
        networks: of the policy, for each worker.
        num_workers: actors.
        rollout_steps: T.
        seed: of the run.
        envs_per_task: environments of each task in a worker.
        reward_normalization: passed to the runners.
        cpus_per_worker: CPUs that an actor reserves.
        max_restarts: deaths survived over the run.
        interrupt: a blocked wait ends when a signal arrives.
        say: shows a message about a wait that takes long.
    """

    def __init__(
        self,
        tasks: TaskSet,
        networks: NetworkConfig,
        *,
        num_workers: int,
        rollout_steps: int,
        seed: int,
        envs_per_task: int = 1,
        reward_normalization: str = "none",
        cpus_per_worker: float = 1.0,
        max_restarts: int = 20,
        interrupt: Interrupt | None = None,
        say: Callable[[str], None] = to_stderr,
    ) -> None:
        self.num_workers = num_workers
        self.rollout_steps = rollout_steps
        self.restarts = 0
        self.max_restarts = max_restarts
        self._interrupt = interrupt or Interrupt()
        self._say = say
        self._cpus = cpus_per_worker
        self._tasks = ray.put(tasks)
        self._networks = networks
        self._options = {
            "seed": seed,
            "num_workers": num_workers,
            "envs_per_task": envs_per_task,
            "reward_normalization": reward_normalization,
        }
        self._published: tuple[Any, int] | None = None
        self._orders = 0
        self._workers = [_Worker() for _ in range(num_workers)]

    def start(self) -> None:
        """Spawn the actors, and wait until each has built its environments or a signal arrives.

        Raises:
            WorkersFailedError: a worker could not, and the message holds its traceback; or it took
                too long.
        """
        for index, worker in enumerate(self._workers):
            worker.actor = self._spawn(index, worker.incarnation, worker.state)
        patience = Patience(_LIMIT_S, self._say)
        waiting = [worker.actor.ready.remote() for worker in self._workers]
        while waiting and self._interrupt.signal is None:
            ready, waiting = ray.wait(waiting, num_returns=1, timeout=_POLL_S)
            try:
                ray.get(ready)
            except RayError as error:
                raise WorkersFailedError(f"A rollout worker could not start.\n{error}") from error
            count, of = len(waiting), len(self._workers)
            patience.check(f"{count} of {of} rollout workers, which build their environments")

    def publish(self, weights: NDArray[np.float32], version: int) -> None:
        """Put the weights into the object store once; requests pass the reference."""
        self._published = ray.put(weights), version

    def request(self, worker: int, explore: str) -> None:
        """Queue a rollout on a worker."""
        assert self._published is not None, "publish a policy before the first request"
        target = self._workers[worker]
        reference, version = self._published
        request = _Request(explore, reference, version, target.next_sequence, self._orders)
        self._orders += 1
        target.next_sequence += 1
        target.requests.append(request)
        self._send(target, request)

    def receive(self, *, block: bool, ordered: bool) -> list[Rollout]:
        """Finished rollouts; see the protocol.

        Raises:
            WorkersFailedError: workers died too often, failed, or did not answer.
        """
        patience = Patience(_LIMIT_S, self._say)
        while any(worker.requests for worker in self._workers):
            if self._interrupt.signal is not None:
                return []
            asked = [(i, w) for i, w in enumerate(self._workers) if w.requests]
            if ordered:
                asked = [min(asked, key=lambda pair: pair[1].requests[0].order)]
            heads = {worker.requests[0].answer: (i, worker) for i, worker in asked}
            answers = list(heads)
            timeout = _POLL_S if block else 0
            ready, _ = ray.wait(answers, num_returns=1, timeout=timeout)
            if ready and not ordered:  # take whatever else is there by now
                ready, _ = ray.wait(answers, num_returns=len(answers), timeout=0)
            taken = [self._take(*heads[answer]) for answer in ready]
            rollouts = [rollout for rollout in taken if rollout is not None]
            if rollouts or not block:
                return rollouts
            patience.check(f"a rollout of worker {' or '.join(str(i) for i, _ in asked)}")
        return []

    def state_dict(self) -> dict[str, Any]:
        """See the protocol. Rollouts in flight are left out: a resumed run uses their numbers again."""
        return {
            "incarnation": max(worker.incarnation for worker in self._workers),
            "sequences": [w.next_sequence - len(w.requests) for w in self._workers],
            "workers": [worker.state for worker in self._workers],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See the protocol."""
        rows = zip(self._workers, state["sequences"], state["workers"], strict=True)
        for worker, sequence, carried in rows:
            worker.incarnation = state["incarnation"] + 1
            worker.next_sequence = sequence
            worker.state = carried

    def close(self) -> None:
        """End the actors."""
        for worker in self._workers:
            if worker.actor is not None:
                ray.kill(worker.actor)
        self._workers = []

    def _take(self, index: int, worker: _Worker) -> Rollout | None:
        request = worker.requests[0]
        try:
            rollout, state = ray.get(request.answer)
        except RayTaskError as error:
            raise WorkersFailedError(f"Rollout worker {index} failed.\n{error}") from error
        except RayError as error:  # the worker is dead, or its answer was lost with its node
            self._replace(index, worker, error)
            return None
        assert rollout.sequence == request.sequence, "a worker answers its requests in order"
        worker.requests.popleft()
        worker.state = state
        return rollout

    def _replace(self, index: int, worker: _Worker, error: Exception) -> None:
        self.restarts += 1
        if self.restarts > self.max_restarts:
            raise WorkersFailedError(
                f"Rollout workers died {self.restarts} times; `collect.max_restarts` is"
                f" {self.max_restarts}. The last death, of worker {index}:\n{error}"
            ) from error
        time.sleep(min(5.0, 0.1 * 2**self.restarts))  # a crash loop should not spin
        ray.kill(worker.actor)  # where only the answer was lost, it still lives
        worker.incarnation += 1
        worker.actor = self._spawn(index, worker.incarnation, worker.state)
        for request in worker.requests:  # nothing of them was inserted: ask again
            self._send(worker, request)

    def _spawn(self, index: int, incarnation: int, state: dict[str, Any] | None) -> Any:
        options: Any = RolloutWorker
        return options.options(num_cpus=self._cpus, name=None).remote(
            self._tasks,
            self._networks,
            state,
            worker=index,
            incarnation=incarnation,
            **self._options,
        )

    def _send(self, worker: _Worker, request: _Request) -> None:
        request.answer = worker.actor.rollout.remote(
            request.weights,
            request.version,
            self.rollout_steps,
            request.sequence,
            request.explore,
        )
