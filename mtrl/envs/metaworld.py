"""Meta-World v3 tasks, built on the library's simulator classes.

We do not use the library's wrappers: their seeds repeat between sub-environments, their bounds are
wrong, and their guard against instability never fires. :class:`EpisodeEnv` replaces them.
"""

# pyright: reportAttributeAccessIssue=false
# (mujoco is a compiled module without type stubs)

from __future__ import annotations

import contextlib
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from mtrl.envs.episode_env import Observation, TaskEnv, all_finite
from mtrl.envs.fast import fast_class, supported

# MuJoCo resets a diverged state by itself. The only sign of it is that these counters grow.
_DIVERGENCE = [
    int(mujoco.mjtWarning.mjWARN_BADQPOS),
    int(mujoco.mjtWarning.mjWARN_BADQVEL),
    int(mujoco.mjtWarning.mjWARN_BADQACC),
]
# Part of the key of the goal cache: raise it when `generate_goals` gives other goals for a seed.
GENERATOR_VERSION = 1
_MAX_HORIZON = 500  # the library raises an error at later steps


class MetaWorldTask(TaskEnv):
    """One Meta-World task whose observation contains the goal.

    An observation has 39 floats, an action 4 floats in [-1, 1].

    Args:
        name: a v3 task name such as `reach-v3`.
        reward_version: `v1` or `v2`.
        fast: use the fast class of :mod:`mtrl.envs.fast`, if the installed versions were verified;
            otherwise use the library's class.
        any_version: use the fast class with versions that were not verified, too; only to verify them.
    """

    obs_dim = 39
    action_dim = 4

    def __init__(
        self, name: str, *, reward_version: str = "v2", fast: bool = True, any_version: bool = False
    ) -> None:
        self.sim = _construct(name, reward_version, fast, any_version)
        self.sim._partially_observable = False
        # The constructor cached it for a hidden goal, and its bounds clip every observation.
        self.sim.__dict__.pop("sawyer_observation_space", None)
        self.sim._set_task_called = True
        self.sim._freeze_rand_vec = True
        self._warnings = 0

    def reset(self, goal: NDArray[np.float64]) -> Observation:
        """Start an episode at the random vector `goal` (object and goal positions, metres)."""
        self.sim._last_rand_vec = np.array(goal)
        obs, _ = self.sim.reset()
        self._warnings = self._count_warnings()
        return obs

    def step(self, action: NDArray[Any]) -> tuple[Observation, float, dict[str, Any]]:
        """Advance one control step of 12.5 ms (5 physics steps)."""
        obs, reward, _, _, info = self.sim.step(action)
        return obs, reward, info

    def diverged(self) -> bool:
        """Whether MuJoCo reported a bad state in the last step, or the state is not finite."""
        data = self.sim.data
        if self._count_warnings() != self._warnings:
            return True
        return not (all_finite(data.qpos) and all_finite(data.qvel))

    def close(self) -> None:
        """Free the renderer, if there is one."""
        self.sim.close()

    def _count_warnings(self) -> int:
        counts = self.sim.data.warning.number.tolist()
        return sum([counts[warning] for warning in _DIVERGENCE])


def generate_goals(
    name: str,
    num_goals: int,
    seed: np.random.SeedSequence,
    *,
    reward_version: str = "v2",
    fast: bool = True,
    any_version: bool = False,
) -> NDArray[np.float64]:
    """Draw the fixed goals of a task, `[num_goals, goal_dim]`.

    Each goal is a vector that a reset of the task accepted. Some tasks draw again until object and goal
    are far enough apart; fixed on a vector that they refuse, they would loop for ever. With `fast` the
    physics is left out; the goals are the same, because no draw depends on it.

    Raises:
        RuntimeError: the task drew a goal twice.
    """
    sim = _construct(name, reward_version, fast, any_version)
    sim.settling = False  # only the fast class reads it
    sim._freeze_rand_vec = False
    sim.seeded_rand_vec = True  # draw from np_random, not from numpy's global generator
    sim._set_task_called = True
    sim.np_random = np.random.default_rng(seed)
    goals = []
    with contextlib.closing(sim):
        for _ in range(num_goals):
            sim.reset()
            goals.append(np.array(sim._last_rand_vec))
    if len(np.unique(goals, axis=0)) != num_goals:
        raise RuntimeError(f"{name} drew a goal twice among {num_goals}. Use fewer goals.")
    return np.array(goals)


def check_horizon(horizon: int) -> None:
    """Raise `ValueError` for a horizon at which the library fails during an episode."""
    if horizon > _MAX_HORIZON:
        raise ValueError(f"`env.horizon` is {horizon}; Meta-World allows at most {_MAX_HORIZON}.")


def _construct(name: str, reward_version: str, fast: bool, any_version: bool) -> Any:
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS

    kind: Any = ALL_V3_ENVIRONMENTS[name]
    if fast and (any_version or supported()):
        kind = fast_class(name)
    return kind(reward_function_version=reward_version)
