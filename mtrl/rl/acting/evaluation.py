"""Evaluation: deterministic policy, chosen goals once each, success at any step of the horizon."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtrl.envs import EpisodeEnv
from mtrl.rl.acting.policy import ActingPolicy


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
