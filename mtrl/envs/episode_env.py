"""The Gymnasium environment of one task: goals, horizon, divergence and success."""

from __future__ import annotations

import abc
import math
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

Observation = NDArray[np.float64]


class TaskEnv(abc.ABC):
    """Interface of the simulator of one task."""

    obs_dim: int
    action_dim: int

    @abc.abstractmethod
    def reset(self, goal: NDArray[np.float64]) -> Observation:
        """Start an episode at `goal`; return the first observation, `[obs_dim]`."""

    @abc.abstractmethod
    def step(self, action: NDArray[Any]) -> tuple[Observation, float, dict[str, Any]]:
        """Advance one control step; return `(observation, reward, info)` with `info["success"]`."""

    @abc.abstractmethod
    def diverged(self) -> bool:
        """Whether the simulator's state became non-finite in the last step."""

    def close(self) -> None:  # noqa: B027 (most simulators need no release)
        """Release the simulator."""


def all_finite(values: NDArray[np.float64]) -> bool:
    """Whether every entry of the vector is finite.

    A finite sum proves it in a third of the time. Only if the sum is not finite are the entries checked.
    """
    return math.isfinite(sum(values.tolist())) or bool(np.isfinite(values).all())


class EpisodeEnv(gym.Env[Observation, NDArray[np.float32]]):
    """One task with its fixed goals, as a Gymnasium environment.

    Each `reset()` draws one of the goals with replacement; `reset(options={"goal": i})` takes goal i.
    `reset(seed=s)` restarts the generator of these draws. (Meta-World ignores the seed of its own
    `reset`.) The observation space is unbounded, because the library's bounds are wrong until a task
    is set, and nothing here uses them.

    Steps return `terminated=False`; the horizon truncates. If the simulator's state, the reward or the
    observation becomes non-finite, the episode is truncated and `info["diverged"]` is true. Nothing
    may be learnt from that transition.

    Args:
        task: the simulator.
        goals: `[num_goals, goal_dim]`.
        horizon: steps until truncation.
        seed: seed of the draws of goals; anything that `numpy.random.default_rng` takes.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (declared so by gymnasium)

    def __init__(
        self,
        task: TaskEnv,
        goals: NDArray[np.float64],
        *,
        horizon: int,
        seed: int | np.random.SeedSequence | None = None,
    ) -> None:
        self.task = task
        self.goals = goals
        self.horizon = horizon
        self.goal_rng = np.random.default_rng(seed)
        self.elapsed = 0
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (task.obs_dim,), np.float64)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (task.action_dim,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode; `options={"goal": i}` chooses the goal."""
        super().reset(seed=seed)
        if seed is not None:
            self.goal_rng = np.random.default_rng(seed)
        goal = (options or {}).get("goal")
        if goal is None:
            goal = int(self.goal_rng.integers(len(self.goals)))
        self.elapsed = 0
        return self.task.reset(self.goals[goal]), {"goal": goal}

    def step(self, action: NDArray[Any]) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Advance one step; the class describes the flags."""
        obs, reward, info = self.task.step(action)
        self.elapsed += 1
        reward = float(reward)
        diverged = self.task.diverged() or not (math.isfinite(reward) and all_finite(obs))
        info["diverged"] = diverged
        return obs, reward, False, diverged or self.elapsed >= self.horizon, info

    def close(self) -> None:
        """Release the simulator."""
        self.task.close()
