"""Collection and evaluation in this process: for debugging, and for runs that a seed reproduces."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtrl.envs import EpisodeEnv, TaskSet
from mtrl.rl.acting.env_runner import EnvRunner
from mtrl.rl.acting.evaluation import Evaluation, evaluate
from mtrl.rl.acting.fragment import Rollout
from mtrl.rl.acting.policy import ActingPolicy


class LocalCollector:
    """All workers in this process; a rollout is taken when it is received.

    A request keeps the policy that was published when it was made, exactly as a remote worker would.

    Args:
        make_runner: builds the runner of worker i in incarnation k.
        num_workers: how many.
        rollout_steps: T.
        state: of a run that is resumed.
    """

    def __init__(
        self,
        make_runner: Callable[[int, int], EnvRunner],
        num_workers: int,
        rollout_steps: int,
        state: dict[str, Any] | None = None,
    ) -> None:
        self.num_workers = num_workers
        self.restarts = 0
        self.rollout_steps = rollout_steps
        self.incarnation = state["incarnation"] + 1 if state else 0
        self.sequences = list(state["sequences"]) if state else [0] * num_workers
        self.runners = [make_runner(i, self.incarnation) for i in range(num_workers)]
        if state:
            for runner, saved in zip(self.runners, state["workers"], strict=True):
                if saved is not None:
                    runner.load_state_dict(saved)
        self._queue: deque[tuple[int, str, NDArray[np.float32], int]] = deque()
        self._published: tuple[NDArray[np.float32], int] | None = None

    def publish(self, weights: NDArray[np.float32], version: int) -> None:
        """See :class:`Collector`."""
        self._published = weights, version

    def request(self, worker: int, explore: str) -> None:
        """See :class:`Collector`."""
        assert self._published is not None, "publish a policy before the first request"
        self._queue.append((worker, explore, *self._published))

    def receive(self, *, block: bool, ordered: bool) -> list[Rollout]:
        """Take the oldest requested rollout now."""
        del block, ordered
        if not self._queue:
            return []
        worker, explore, weights, version = self._queue.popleft()
        runner = self.runners[worker]
        runner.policy.load(weights, version)
        rollout = runner.rollout(self.rollout_steps, self.sequences[worker], explore=explore)
        self.sequences[worker] += 1
        return [rollout]

    def in_flight(self, worker: int) -> int:
        """See :class:`Collector`."""
        return sum(queued == worker for queued, *_ in self._queue)

    def state_dict(self) -> dict[str, Any]:
        """See :class:`Collector`."""
        return {
            "incarnation": self.incarnation,
            "sequences": list(self.sequences),
            "workers": [runner.state_dict() for runner in self.runners],
        }

    def close(self) -> None:
        """Close the environments."""
        for runner in self.runners:
            for env in runner.envs:
                env.close()


class LocalEvaluator:
    """Evaluates in this process, at once.

    Args:
        tasks: names and goals.
        policy: a policy of its own, whose weights are overwritten.
        goals: how many goals a periodic evaluation tries.
    """

    def __init__(self, tasks: TaskSet, policy: ActingPolicy, goals: int) -> None:
        self.tasks, self.policy = tasks, policy
        self.goals = min(goals, tasks.num_goals)
        self._envs: list[EpisodeEnv] = []
        self._result: tuple[int, Evaluation] | None = None

    def submit(self, weights: NDArray[np.float32], version: int, env_steps: int) -> None:
        """Run a periodic evaluation."""
        self._result = env_steps, self.run(weights, version, range(self.goals))

    def poll(self, *, block: bool = False) -> tuple[int, Evaluation] | None:
        """The result of :meth:`submit`."""
        del block
        result, self._result = self._result, None
        return result

    def full(self, weights: NDArray[np.float32], version: int) -> Evaluation:
        """Every goal once per task."""
        return self.run(weights, version, range(self.tasks.num_goals))

    def run(self, weights: NDArray[np.float32], version: int, goals: Sequence[int]) -> Evaluation:
        """Evaluate chosen goals."""
        if not self._envs:
            self._envs = [self.tasks.build(i) for i in range(len(self.tasks))]
        self.policy.load(weights, version)
        return evaluate(self.policy, self._envs, list(goals))

    def close(self) -> None:
        """Close the environments."""
        for env in self._envs:
            env.close()
