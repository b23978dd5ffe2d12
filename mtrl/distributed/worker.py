"""The Ray actors: a runner or an evaluator of the `rl` room, with one torch thread."""

from __future__ import annotations

from typing import Any

import numpy as np
import ray
import torch
from numpy.typing import NDArray

from mtrl.envs import TaskSet
from mtrl.rl.acting.env_runner import EnvRunner
from mtrl.rl.acting.evaluation import Evaluation
from mtrl.rl.acting.fragment import Rollout
from mtrl.rl.acting.local import LocalEvaluator
from mtrl.rl.acting.policy import acting_policy
from mtrl.rl.config import NetworkConfig


# No restarts by Ray itself: the collector replaces a dead worker as its next incarnation, so that a
# rollout of the old one cannot be mistaken for the new one's.
@ray.remote(max_restarts=0, max_task_retries=0)
class RolloutWorker:
    """Steps environments of every task; calls are answered in order."""

    def __init__(
        self,
        tasks: TaskSet,
        networks: NetworkConfig,
        state: dict[str, Any] | None,
        *,
        envs_per_task: int,
        **options: Any,
    ) -> None:
        torch.set_num_threads(1)
        policy = acting_policy(tasks, networks, envs_per_task)
        self.runner = EnvRunner(tasks, policy, envs_per_task=envs_per_task, **options)
        if state is not None:
            self.runner.load_state_dict(state)

    def rollout(
        self, weights: NDArray[np.float32], version: int, steps: int, sequence: int, explore: str
    ) -> tuple[Rollout, dict[str, Any]]:
        """A rollout and what the worker would carry over a restart."""
        self.runner.policy.load(weights, version)
        rollout = self.runner.rollout(steps, sequence, explore=explore)
        return rollout, self.runner.state_dict()

    def ready(self) -> bool:
        """Answers once the environments are built."""
        return True


@ray.remote(max_restarts=0, max_task_retries=0)
class EvaluationWorker:
    """Evaluates chosen goals."""

    def __init__(self, tasks: TaskSet, networks: NetworkConfig) -> None:
        torch.set_num_threads(1)
        self.evaluator = LocalEvaluator(tasks, acting_policy(tasks, networks), tasks.num_goals)

    def run(self, weights: NDArray[np.float32], version: int, goals: list[int]) -> Evaluation:
        """Each goal once per task."""
        return self.evaluator.run(weights, version, goals)
