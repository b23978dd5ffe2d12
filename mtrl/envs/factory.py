"""Build environments from task names; goals are generated once and cached."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mtrl.envs.config import EnvConfig
from mtrl.envs.episode_env import EpisodeEnv, TaskEnv
from mtrl.envs.fake import FakeTask, fake_goals
from mtrl.envs.suites import task_names


@dataclass(frozen=True)
class TaskSet:
    """The tasks of a run with their goals. A worker builds its environments from it.

    Attributes:
        names: `m` task names; row i of every task-major tensor belongs to `names[i]`.
        goals: the goals of each task, `[num_goals, goal_dim]`.
        obs_dim: size of an observation.
        action_dim: size of an action.
        horizon: steps until truncation.
        reward_version: version of Meta-World's reward functions.
        fast: whether Meta-World tasks use our fast classes.
    """

    names: list[str]
    goals: list[NDArray[np.float64]]
    obs_dim: int
    action_dim: int
    horizon: int
    reward_version: str = "v2"
    fast: bool = True

    def __len__(self) -> int:
        return len(self.names)

    @property
    def num_goals(self) -> int:
        """Number of goals per task."""
        return len(self.goals[0])

    def build(self, index: int, seed: int | np.random.SeedSequence | None = None) -> EpisodeEnv:
        """The environment of task `index`."""
        task = _build_task(self.names[index], self.reward_version, self.fast)
        return EpisodeEnv(task, self.goals[index], horizon=self.horizon, seed=seed)


def load_tasks(config: EnvConfig, *, cache: Path | None = None) -> TaskSet:
    """Check the task names, and read the goals from the cache or generate them.

    Args:
        config: options of the tasks.
        cache: folder of the goal cache; None is `$XDG_CACHE_HOME/mtrl/goals`.

    Raises:
        ValueError: an unknown task or a horizon that the simulator does not allow.
    """
    names = task_names(config.tasks)
    if not names[0].startswith("fake-"):
        from mtrl.envs.metaworld import check_horizon

        check_horizon(config.horizon)
    goals = [_goals(name, config, cache) for name in names]
    kind = _task_class(names[0])
    return TaskSet(
        names,
        goals,
        kind.obs_dim,
        kind.action_dim,
        config.horizon,
        config.reward_version,
        config.fast,
    )


def make(
    task: str,
    *,
    fast: bool = True,
    reward_version: str = "v2",
    horizon: int = 500,
    num_goals: int = 50,
    benchmark_seed: int = 42,
    seed: int | None = None,
) -> EpisodeEnv:
    """One task as a Gymnasium environment, with the goals that training would use.

    `fast=False` takes the library's class; both give the same bits.

    >>> env = make("reach-v3", seed=0)
    >>> obs, info = env.reset(options={"goal": 7})
    """
    config = EnvConfig(
        tasks=[task],
        fast=fast,
        reward_version=reward_version,  # type: ignore[arg-type]
        horizon=horizon,
        num_goals=num_goals,
        benchmark_seed=benchmark_seed,
    )
    return load_tasks(config).build(0, seed)


def sub_environment_seed(
    run: int, worker: int, incarnation: int, env: int
) -> np.random.SeedSequence:
    """Seed of one sub-environment; no two in a run have the same.

    A restarted worker is the next incarnation, so it draws new goals instead of repeating old ones.
    """
    return np.random.SeedSequence([run, worker, env, incarnation])


def _task_class(name: str) -> type[TaskEnv]:
    if name.startswith("fake-"):
        return FakeTask
    from mtrl.envs.metaworld import MetaWorldTask

    return MetaWorldTask


def _build_task(name: str, reward_version: str, fast: bool) -> TaskEnv:
    if name.startswith("fake-"):
        return FakeTask(int(name.removeprefix("fake-")))
    from mtrl.envs.metaworld import MetaWorldTask

    return MetaWorldTask(name, reward_version=reward_version, fast=fast)


def _goals(name: str, config: EnvConfig, cache: Path | None) -> NDArray[np.float64]:
    # From the name, so that a task has the same goals in MT1, MT10 and any list.
    digest = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])
    seed = np.random.SeedSequence([config.benchmark_seed, digest])
    if name.startswith("fake-"):
        return fake_goals(config.num_goals, seed)

    # Imported here, so that the fake tasks need no simulator.
    from mtrl.envs.metaworld import GENERATOR_VERSION, generate_goals

    versions = [importlib.metadata.version(package) for package in ("metaworld", "mujoco")]
    options = [config.reward_version, config.num_goals, config.benchmark_seed]
    key = [name, *options, *versions, GENERATOR_VERSION]
    folder = cache or _cache_folder()
    path = folder / f"{name}-{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]}.json"
    goals = _read(path, key, config.num_goals)
    if goals is None:
        goals = generate_goals(
            name, config.num_goals, seed, reward_version=config.reward_version, fast=config.fast
        )
        _write(path, {"key": key, "goals": goals.tolist()})
    return goals


def _read(path: Path, key: list[object], num_goals: int) -> NDArray[np.float64] | None:
    """The goals in a file of the cache, `[num_goals, goal_dim]`; None if it has none for this key."""
    try:
        stored = json.loads(path.read_text())
        goals = np.array(stored["goals"], np.float64)
    except (OSError, ValueError, KeyError, TypeError):
        return None  # missing or damaged: generate the goals again
    whole = goals.ndim == 2 and len(goals) == num_goals and np.isfinite(goals).all()
    return goals if whole and stored["key"] == key else None


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "mtrl" / "goals"


def _write(path: Path, content: dict[str, Sequence]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(json.dumps(content))  # JSON preserves every bit of a float64
        temporary.replace(path)
    except OSError:
        pass  # without a cache the next run generates the goals again, in seconds
