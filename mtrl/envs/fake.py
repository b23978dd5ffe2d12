"""Tiny deterministic tasks with the interface of the real ones, for tests that train in seconds.

A point on a plane moves by a tenth of the action. Each task rotates the action by another angle, so a
policy that does not know the task cannot solve them all. The optimum is known: move straight to the
goal.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtrl.envs.episode_env import Observation, TaskEnv

_REACHED = 0.15  # success: a distance below this
_SPEED = 0.1


class FakeTask(TaskEnv):
    """Move a point to a goal on a plane; the observation is `(x, y, goal_x, goal_y)`.

    Args:
        index: index of the task; it rotates actions by `index * 2 pi / 5`.
        diverge_at: the step, counted over all episodes, at which the state becomes NaN, to test the
            handling of divergence; None is never.
    """

    obs_dim = 4
    action_dim = 2

    def __init__(self, index: int, *, diverge_at: int | None = None) -> None:
        angle = index * 2 * np.pi / 5
        cos, sin = np.cos(angle), np.sin(angle)
        self.rotation = np.array([[cos, -sin], [sin, cos]])
        self.position = np.zeros(2)
        self.goal = np.zeros(2)
        self.steps = 0
        self.diverge_at = diverge_at

    def reset(self, goal: NDArray[np.float64]) -> Observation:
        """Start an episode at the origin."""
        self.position = np.zeros(2)
        self.goal = np.array(goal)
        return self._observe()

    def step(self, action: NDArray[Any]) -> tuple[Observation, float, dict[str, Any]]:
        """Move the point; the reward is `1 - distance` clipped to [0, 1]."""
        self.steps += 1
        move = self.rotation @ np.clip(np.asarray(action, np.float64), -1.0, 1.0)
        self.position = np.clip(self.position + _SPEED * move, -1.0, 1.0)
        if self.steps == self.diverge_at:
            self.position = np.full(2, np.nan)
        distance = float(np.linalg.norm(self.position - self.goal))
        reward = max(0.0, 1.0 - distance) if np.isfinite(distance) else float("nan")
        return self._observe(), reward, {"success": float(distance < _REACHED)}

    def diverged(self) -> bool:
        """Whether the position is not finite."""
        return not np.isfinite(self.position).all()

    def _observe(self) -> Observation:
        return np.concatenate([self.position, self.goal])


def fake_goals(num_goals: int, seed: np.random.SeedSequence) -> NDArray[np.float64]:
    """Draw goals on a ring of radius 0.5 to 0.8, `[num_goals, 2]`."""
    rng = np.random.default_rng(seed)
    angle, radius = rng.uniform(0, 2 * np.pi, num_goals), rng.uniform(0.5, 0.8, num_goals)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
