"""Task environments: the suites of Meta-World (MT1, MT10, MT25, MT50, or named tasks) and fake tasks.

The package imports gymnasium, metaworld and numpy, but neither torch nor Ray. Every environment is a
`gymnasium.Env` with an unbounded `Box` observation. `reset(options={"goal": i})` starts at one of its
fixed goals. Each step returns `info["success"]` and `info["diverged"]`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mtrl.envs.config import EnvConfig as EnvConfig
    from mtrl.envs.episode_env import EpisodeEnv as EpisodeEnv
    from mtrl.envs.episode_env import TaskEnv as TaskEnv
    from mtrl.envs.factory import TaskSet as TaskSet
    from mtrl.envs.factory import load_tasks as load_tasks
    from mtrl.envs.factory import make as make
    from mtrl.envs.suites import task_names as task_names

_MODULES = {
    "EnvConfig": "config",
    "EpisodeEnv": "episode_env",
    "TaskEnv": "episode_env",
    "TaskSet": "factory",
    "load_tasks": "factory",
    "make": "factory",
    "task_names": "suites",
}
__all__ = ["EnvConfig", "EpisodeEnv", "TaskEnv", "TaskSet", "load_tasks", "make", "task_names"]


def __getattr__(name: str) -> Any:
    # Deferred, so that a configuration can be read and refused before the slow import of gymnasium.
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
