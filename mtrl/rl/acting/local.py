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
    """

    def __init__(
        self,
        make_runner: Callable[[int, int], EnvRunner],
        num_workers: int,
        rollout_steps: int,
    ) -> None:
        self.num_workers = num_workers
        self.restarts = 0
        self.rollout_steps = rollout_steps
        self.incarnation = 0
        self.sequences = [0] * num_workers
        self.runners: list[EnvRunner] = []
        self._make_runner = make_runner
        self._carried: list[dict[str, Any] | None] = [None] * num_workers
        self._queue: deque[tuple[int, str, NDArray[np.float32], int]] = deque()
        self._published: tuple[NDArray[np.float32], int] | None = None

    def start(self) -> None:
        """See `mtrl.rl.acting.interfaces.Collector`."""
        for worker, state in enumerate(self._carried):
            runner = self._make_runner(worker, self.incarnation)
            if state is not None:
                runner.load_state_dict(state)
            self.runners.append(runner)

    def publish(self, weights: NDArray[np.float32], version: int) -> None:
        """See `mtrl.rl.acting.interfaces.Collector`."""
        self._published = weights, version

    def request(self, worker: int, explore: str) -> None:
        """See `mtrl.rl.acting.interfaces.Collector`."""
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

    def state_dict(self) -> dict[str, Any]:
        """See `mtrl.rl.acting.interfaces.Collector`."""
        return {
            "incarnation": self.incarnation,
            "sequences": list(self.sequences),
            "workers": [runner.state_dict() for runner in self.runners],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `mtrl.rl.acting.interfaces.Collector`."""
        self.incarnation = state["incarnation"] + 1
        self.sequences = list(state["sequences"])
        self._carried = list(state["workers"])

    def close(self) -> None:
        """Close the environments."""
        for runner in self.runners:
            for env in runner.envs:
                env.close()


class LocalEvaluator:
    """Evaluates in this process, at once.

    Args:
        tasks: names and goals.
        policy: for this evaluator alone; its weights are overwritten.
        goals: how many goals a periodic evaluation tries.
    """

    def __init__(self, tasks: TaskSet, policy: ActingPolicy, goals: int) -> None:
        self.tasks = tasks
        self.policy = policy
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
