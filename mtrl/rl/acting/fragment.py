"""What crosses processes upward: fragments of episodes, in NumPy."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Episode:
    """The summary of a finished episode.

    Attributes:
        success: whether any step succeeded.
        total_reward: undiscounted sum of the simulator's rewards.
        length: steps.
        partial: the episode was cut short to stagger resets; it says nothing about success.
        diverged: the simulator's state became non-finite.
        policy_version: the oldest policy that acted in it, in updates that it had seen; -1 for random
            actions.
    """

    success: bool
    total_reward: float
    length: int
    partial: bool = False
    diverged: bool = False
    policy_version: int = 0


@dataclass(frozen=True, slots=True)
class Fragment:
    """Consecutive steps of one environment within one episode.

    Attributes:
        task: index of its task.
        obs: `[T+1, obs_dim]` float32; `obs[t + 1]` is the true successor of step t, also at the end of
            an episode.
        action: `[T, action_dim]` float32 in [-1, 1].
        reward: `[T]` float32.
        terminated: whether the environment said that the last step is terminal; a time limit is not.
        episode: the summary, where the episode ended with this fragment.
    """

    task: int
    obs: NDArray[np.float32]
    action: NDArray[np.float32]
    reward: NDArray[np.float32]
    terminated: bool
    episode: Episode | None

    def __len__(self) -> int:
        return len(self.reward)


@dataclass(frozen=True, slots=True)
class Rollout:
    """One answer of a worker: the same number of steps of each of its environments.

    Attributes:
        worker, incarnation, sequence: identify it; a restarted worker is its next incarnation.
        policy_version: updates that the acting policy had seen; -1 for uniformly random actions.
        env_steps: environment steps taken, those of diverged episodes included.
        fragments: in the order of tasks, then environments, then time.
        seconds: wall time by part: `policy`, `simulation`, `reset`.
    """

    worker: int
    incarnation: int
    sequence: int
    policy_version: int
    env_steps: int
    fragments: list[Fragment]
    seconds: dict[str, float] = field(default_factory=dict)
