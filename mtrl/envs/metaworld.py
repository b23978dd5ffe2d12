"""Meta-World v3 tasks, straight from the library's simulator classes.

The library's wrappers are left out on purpose: their seeds repeat between sub-environments, their
bounds are wrong, and their instability guard never fires (docs of :class:`EpisodeEnv`).
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

# MuJoCo resets a diverged state by itself and only raises these counters.
_DIVERGENCE = [
    int(mujoco.mjtWarning.mjWARN_BADQPOS),
    int(mujoco.mjtWarning.mjWARN_BADQVEL),
    int(mujoco.mjtWarning.mjWARN_BADQACC),
]
# Of `generate_goals`, in the key of the goal cache: raise it where the same seed gives other goals.
GENERATOR_VERSION = 1
_MAX_HORIZON = 500  # the library raises at a step beyond its own path length


class MetaWorldTask(TaskEnv):
    """One Meta-World task with the goal visible; observation 39 floats, action 4 floats in [-1, 1].

    Args:
        name: a v3 task name, `reach-v3`.
        reward_version: `v1` or `v2`.
        fast: step with the exact fast class (:mod:`mtrl.envs.fast`); the library's own otherwise,
            and where the installed versions were not verified.
        any_version: take the fast class for other versions, too; only to verify them.
    """

    obs_dim = 39
    action_dim = 4

    def __init__(
        self, name: str, *, reward_version: str = "v2", fast: bool = True, any_version: bool = False
    ) -> None:
        self.sim = _construct(name, reward_version, fast, any_version)
        self.sim._partially_observable = False
        # Cached for a hidden goal while constructing; its bounds clip every observation.
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
        """Whether MuJoCo found its state bad in the last step, or left it non-finite."""
        data = self.sim.data
        if self._count_warnings() != self._warnings:
            return True
        return not (all_finite(data.qpos) and all_finite(data.qvel))

    def close(self) -> None:
        """Free the renderer, if one was made."""
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

    Each goal is the vector that a real reset accepted. Some tasks redraw until object and goal are
    far enough apart, and would loop for ever when frozen on a raw draw. The goals are the same with
    `fast`, which leaves out the physics: no draw depends on it.

    Raises:
        RuntimeError: the task drew a goal twice.
    """
    sim = _construct(name, reward_version, fast, any_version)
    sim.settling = False  # only read by the fast class
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
    """Raise `ValueError` where the library would fail in mid-episode."""
    if horizon > _MAX_HORIZON:
        raise ValueError(f"`env.horizon` is {horizon}; Meta-World allows at most {_MAX_HORIZON}.")


def _construct(name: str, reward_version: str, fast: bool, any_version: bool) -> Any:
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS

    kind: Any = ALL_V3_ENVIRONMENTS[name]
    if fast and (any_version or supported()):
        kind = fast_class(name)
    return kind(reward_function_version=reward_version)
