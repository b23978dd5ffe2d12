"""Task environments: Meta-World (MT1, MT10, MT25, MT50 or chosen tasks) and an exact fake family.

This room knows gymnasium, metaworld and numpy; neither torch nor Ray. Every environment is a
`gymnasium.Env` with an unbounded `Box` observation, `reset(options={"goal": i})` to start at one of
its fixed goals, and `info["success"]` / `info["diverged"]` at each step.
"""

from mtrl.envs.base import EpisodeEnv, TaskEnv
from mtrl.envs.config import EnvConfig
from mtrl.envs.factory import TaskSet, load_tasks, make
from mtrl.envs.names import task_names

__all__ = ["EnvConfig", "EpisodeEnv", "TaskEnv", "TaskSet", "load_tasks", "make", "task_names"]
