"""Compare the fast environments with the library's, step by step and bit by bit.

For each task both versions get the same goals and the same actions. The actions are chosen from the
original's observations, in four modes that take turns. Goals are fixed in one round and drawn by the
task in the next (some tasks draw again until object and goal are far enough apart). Compared are
observations, rewards, flags, every entry of the infos, all Python types, exceptions, and the
simulator's positions, velocities and warm start after every step and reset.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from mtrl.envs.metaworld import MetaWorldTask, generate_goals
from mtrl.envs.suites import task_names

Mode = Literal["random", "policy", "noisy", "walk"]
MODES: tuple[Mode, ...] = get_args(Mode)

_EPISODES = 8  # at least, so that each mode has a fixed and a drawn goal
_MAX_EPISODE = 500  # the library's limit
_STATE = ("qpos", "qvel", "qacc_warmstart")
_Action = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Difference:
    """The first difference of a task.

    Attributes:
        task: name of the task.
        step: number of environment steps before it, over all episodes.
        mode: mode in which actions were chosen.
        field: the value that differs: `obs[4]`, `reward`, `info.success`, `qpos[9]`, `goals`,
            `exception`.
        original: the library's value.
        fast: our value.
    """

    task: str
    step: int
    mode: Mode
    field: str
    original: str
    fast: str

    def __str__(self) -> str:
        place = f"{self.task}, step {self.step}, mode {self.mode}, {self.field}"
        return f"{place}: original {self.original}, fast {self.fast}"


@dataclass
class Report:
    """Result of a comparison.

    Attributes:
        steps: number of environment steps compared, per task; a difference ends a task early.
        episodes: number of resets compared, per task.
        exceptions: number of steps at which both raised the same exception, for tasks that have any.
        differences: the first difference of each task that has one.
    """

    steps: dict[str, int] = field(default_factory=dict)
    episodes: dict[str, int] = field(default_factory=dict)
    exceptions: dict[str, int] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)

    @property
    def identical(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    def __str__(self) -> str:
        total, resets = sum(self.steps.values()), sum(self.episodes.values())
        compared = f"{len(self.steps)} tasks, {total} steps, {resets} resets"
        lines = [f"{compared}: {len(self.differences)} tasks differ"]
        return "\n".join([*lines, *map(str, self.differences)])


def verify(
    tasks: str | Sequence[str],
    steps: int,
    *,
    modes: Sequence[Mode] = MODES,
    reward_version: str = "v2",
    seed: int = 0,
    progress: Callable[[str, Difference | None], None] | None = None,
) -> Report:
    """Compare fast and original environments of each task over `steps` steps.

    Args:
        tasks: a suite (`mt10`), a task or a list of tasks.
        steps: number of steps per task.
        modes: modes of choosing actions, which take turns.
        reward_version: version of Meta-World's reward functions.
        seed: seed of goals and actions.
        progress: called after each task with its name and its first difference.

    Raises:
        ValueError: an unknown task, or a task that is not Meta-World's.
    """
    report = Report()
    for name in comparable_tasks(tasks):
        comparison = _Comparison(name, reward_version, seed)
        difference = comparison.run(steps, modes)
        report.steps[name], report.episodes[name] = comparison.step, comparison.episode
        if comparison.exceptions:
            report.exceptions[name] = comparison.exceptions
        if difference:
            report.differences.append(difference)
        if progress:
            progress(name, difference)
    return report


def comparable_tasks(tasks: str | Sequence[str]) -> list[str]:
    """The names of the tasks, which must have a fast version.

    Raises:
        ValueError: an unknown task, or a task that is not Meta-World's.
    """
    names = task_names(tasks)
    for name in names:
        if name.startswith("fake-"):
            raise ValueError(f"{name} has one version only. Name Meta-World tasks to compare.")
    return names


class _Comparison:
    """The original and the fast version of one task."""

    def __init__(self, name: str, reward_version: str, seed: int) -> None:
        self.name, self.reward_version = name, reward_version
        self.seed = np.random.SeedSequence([seed, sum(name.encode())])
        self.rng = np.random.default_rng(self.seed)
        self.pair = [
            MetaWorldTask(name, reward_version=reward_version, fast=fast, any_version=True).sim
            for fast in (False, True)
        ]
        self.step = self.episode = self.exceptions = 0

    def run(self, steps: int, modes: Sequence[Mode]) -> Difference | None:
        episodes = max(_EPISODES, -(-steps // _MAX_EPISODE))
        length = -(-steps // episodes)
        original, fast = (
            generate_goals(
                self.name,
                episodes // 2,
                self.seed,
                reward_version=self.reward_version,
                fast=fast,
                any_version=True,
            )
            for fast in (False, True)
        )
        first = _first(_diff("goals", original, fast))
        if first:
            return Difference(self.name, 0, modes[0], *first)
        while self.step < steps:
            mode = self._prepare(modes, original)
            first = self._play(mode, min(length, steps - self.step))
            if first:
                return Difference(self.name, self.step, mode, *first)
        return None

    def _prepare(self, modes: Sequence[Mode], goals: np.ndarray) -> Mode:
        """Choose the mode and the goal of the next episode; in every other round the task draws it."""
        lap, turn = divmod(self.episode, len(modes))
        fixed = lap % 2 == 0
        draws = self.rng.integers(2**32)
        for sim in self.pair:
            sim._freeze_rand_vec, sim.seeded_rand_vec = fixed, not fixed
            sim.np_random = np.random.default_rng(draws)
            if fixed:
                sim._last_rand_vec = np.array(goals[(lap // 2 * len(modes) + turn) % len(goals)])
        return modes[turn]

    def _play(self, mode: Mode, length: int) -> tuple[str, str, str] | None:
        results = [sim.reset() for sim in self.pair]
        self.episode += 1
        first = self._compare(results, ("obs", "info"))
        act = self._actions(mode)
        for _ in range(length):
            if first:
                break
            action = act(results[0][0])
            results = [_attempt(sim.step, action.copy()) for sim in self.pair]
            self.step += 1
            first = self._compare(results, ("obs", "reward", "terminated", "truncated", "info"))
            if not first and isinstance(results[0], Exception):
                self.exceptions += 1
                break
        return first

    def _compare(self, results: list[Any], names: Sequence[str]) -> tuple[str, str, str] | None:
        original, fast = results
        if isinstance(original, Exception) or isinstance(fast, Exception):
            if repr(original) == repr(fast):
                return None
            shown = [repr(r) if isinstance(r, Exception) else "none" for r in results]
            return "exception", shown[0], shown[1]
        for key in ("_last_rand_vec", "_target_pos"):
            first = _first(_diff(key, *(getattr(sim, key) for sim in self.pair)))
            if first:
                return first
        for name, *values in zip(names, original, fast, strict=True):
            if first := _first(_diff(name, *values)):
                return first
        for name in _STATE:
            if first := _first(_diff(name, *(getattr(sim.data, name) for sim in self.pair))):
                return first
        return None

    def _actions(self, mode: Mode) -> _Action:
        from metaworld.policies import ENV_POLICY_MAP

        rng = self.rng
        if mode == "random":
            return lambda obs: rng.uniform(-1, 1, 4).astype(np.float32)
        if mode == "walk":
            position = np.zeros(4)

            def walk(obs: np.ndarray) -> np.ndarray:
                position[:] = np.clip(position + rng.normal(0, 0.1, 4), -1, 1)
                return position

            return walk
        policy = ENV_POLICY_MAP[self.name]()

        def scripted(obs: np.ndarray) -> np.ndarray:
            with warnings.catch_warnings():  # it warns at every step that it exceeds the bounds
                warnings.simplefilter("ignore", UserWarning)
                return policy.get_action(obs)

        if mode == "policy":
            return lambda obs: np.asarray(scripted(obs), np.float32)
        return lambda obs: np.clip(scripted(obs) + rng.normal(0, 0.3, 4), -1.5, 1.5)


def _attempt(call: Callable[..., Any], *args: Any) -> Any:
    try:
        return call(*args)
    except Exception as error:  # errors must be the same, too
        return error


def _first(differences: Iterator[tuple[str, str, str]]) -> tuple[str, str, str] | None:
    return next(differences, None)


def _diff(name: str, original: Any, fast: Any) -> Iterator[tuple[str, str, str]]:
    """Differences in type or bits, as `(field, original, fast)`."""
    if type(original) is not type(fast):
        yield name, _show(original), _show(fast)
    elif isinstance(original, dict):
        if list(original) != list(fast):
            yield f"{name} keys", str(list(original)), str(list(fast))
        for key in original:
            yield from _diff(f"{name}.{key}", original[key], fast[key])
    elif isinstance(original, np.ndarray):
        if (original.dtype, original.shape) != (fast.dtype, fast.shape):
            yield name, _show(original), _show(fast)
        elif original.tobytes() != fast.tobytes():
            pairs = zip(original.ravel(), fast.ravel(), strict=True)
            for i, (a, b) in enumerate(pairs):
                if a.tobytes() != b.tobytes():
                    yield f"{name}[{i}]", _show(a), _show(b)
    elif isinstance(original, float | np.generic):
        if np.asarray(original).tobytes() != np.asarray(fast).tobytes():
            yield name, _show(original), _show(fast)
    elif original != fast:
        yield name, _show(original), _show(fast)


def _show(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{list(value.shape)} {value}"
    return f"{type(value).__name__} {value!r}"
