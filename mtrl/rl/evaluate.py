"""Evaluation: deterministic policy, chosen goals once each, success at any step of the horizon."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mtrl.envs import EpisodeEnv, TaskSet
from mtrl.rl.actor import ActingPolicy


@dataclass(frozen=True)
class Evaluation:
    """Outcome of an evaluation.

    Attributes:
        goals: indices of the goals, each tried once per task.
        success: `[m][len(goals)]`.
        env_steps: simulator steps that it took.
        policy_version: updates that the policy had seen.
        diverged: episodes in which the simulator diverged; they count as failures.
    """

    goals: list[int]
    success: list[list[bool]]
    env_steps: int
    policy_version: int
    diverged: int = 0

    @property
    def success_rate(self) -> list[float]:
        """Per task, `[m]`."""
        return [sum(row) / len(row) for row in self.success]

    @property
    def mean_success_rate(self) -> float:
        """Mean over tasks."""
        return float(np.mean(self.success_rate))

    def to_json(self, names: Sequence[str]) -> dict[str, Any]:
        """Plain values, with each task by name."""
        return {
            "mean_success_rate": self.mean_success_rate,
            "success_rate": dict(zip(names, self.success_rate, strict=True)),
            "goals": self.goals,
            "success": dict(zip(names, self.success, strict=True)),
            "env_steps": self.env_steps,
            "policy_version": self.policy_version,
            "diverged": self.diverged,
        }


def merge(parts: Sequence[Evaluation]) -> Evaluation:
    """Join evaluations of different goals by the same policy, in the order of goals."""
    order = sorted(
        (goal, p, i) for p, part in enumerate(parts) for i, goal in enumerate(part.goals)
    )
    rows = range(len(parts[0].success))
    return Evaluation(
        goals=[goal for goal, _, _ in order],
        success=[[parts[p].success[row][i] for _, p, i in order] for row in rows],
        env_steps=sum(part.env_steps for part in parts),
        policy_version=parts[0].policy_version,
        diverged=sum(part.diverged for part in parts),
    )


def evaluate(policy: ActingPolicy, envs: Sequence[EpisodeEnv], goals: Sequence[int]) -> Evaluation:
    """Try each goal once on every task.

    All environments step together with one batched forward; each goes on to its next goal as soon as
    it succeeds or its episode ends.

    Args:
        policy: acts deterministically.
        envs: one per task, in the order of tasks.
        goals: indices of goals, the same for every task.
    """
    m = len(envs)
    success: list[list[bool]] = [[] for _ in range(m)]
    obs = [env.reset(options={"goal": goals[0]})[0] for env in envs]
    active = set(range(m))
    steps = diverged = 0
    while active:
        rows: NDArray[np.float32] = np.stack(obs).astype(np.float32)
        actions = policy.act(rows, None)
        for i in sorted(active):
            obs[i], _, terminated, truncated, info = envs[i].step(actions[i])
            steps += 1
            if info["diverged"]:
                obs[i] = np.zeros_like(obs[i])
                diverged += 1
            succeeded = bool(info["success"]) and not info["diverged"]
            if not (succeeded or terminated or truncated):
                continue
            success[i].append(succeeded)
            if len(success[i]) < len(goals):
                obs[i], _ = envs[i].reset(options={"goal": goals[len(success[i])]})
            else:
                active.discard(i)
    return Evaluation(list(goals), success, steps, policy.version, diverged)


class Evaluator(Protocol):
    """Evaluates beside training, or in its place."""

    def submit(self, weights: NDArray[np.float32], version: int, env_steps: int) -> None:
        """Begin a periodic evaluation; dropped while the last one is still running."""
        ...

    def poll(self, *, block: bool = False) -> tuple[int, Evaluation] | None:
        """The finished evaluation with the `env_steps` of its policy, once; None if there is none."""
        ...

    def full(self, weights: NDArray[np.float32], version: int) -> Evaluation:
        """Every goal once per task; blocks."""
        ...

    def close(self) -> None:
        """Release workers."""
        ...


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
