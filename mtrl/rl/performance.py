"""How well each task is doing, as training sees it: success rate, count, error and age."""

from __future__ import annotations

import math
from collections import deque
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from mtrl.rl.acting.evaluation import Evaluation
from mtrl.rl.acting.fragment import Episode
from mtrl.rl.success_rate import Smoothing, standard_errors, success_rates
from mtrl.runs.device import upload


class Window:
    """Numbers that came in for each task during the last `length` environment steps.

    The window ends with the newest number of any task; a task whose numbers are all older has none.

    Args:
        num_tasks: m.
        length: environment steps.
    """

    def __init__(self, num_tasks: int, length: int) -> None:
        self.length = length
        self._tasks = [deque[tuple[int, float]]() for _ in range(num_tasks)]

    def add(self, task: int, value: float, env_steps: int) -> None:
        """Take a number that came in at `env_steps`; what has become too old leaves."""
        self._tasks[task].append((env_steps, float(value)))
        for entries in self._tasks:
            while entries and entries[0][0] <= env_steps - self.length:
                entries.popleft()

    def clear(self) -> None:
        """Forget all numbers."""
        for entries in self._tasks:
            entries.clear()

    def counts(self) -> list[int]:
        """Numbers in the window, `[m]`."""
        return [len(entries) for entries in self._tasks]

    def sums(self) -> list[float]:
        """`[m]`; 0 where there is nothing."""
        return [math.fsum(value for _, value in entries) for entries in self._tasks]

    def means(self) -> list[float]:
        """`[m]`, NaN where there is nothing."""
        pairs = zip(self.sums(), self.counts(), strict=True)
        return [total / count if count else math.nan for total, count in pairs]

    def ages(self, env_steps: int) -> list[float]:
        """Mean environment steps since the numbers came in, `[m]`, NaN where there is nothing."""
        return [
            env_steps - math.fsum(at for at, _ in entries) / len(entries) if entries else math.nan
            for entries in self._tasks
        ]

    def state_dict(self) -> list[list[tuple[int, float]]]:
        """What the window holds."""
        return [list(entries) for entries in self._tasks]

    def load_state_dict(self, state: list[list[tuple[int, float]]]) -> None:
        """Restore :meth:`state_dict`."""
        for entries, saved in zip(self._tasks, state, strict=True):
            entries.clear()
            entries.extend((int(at), float(value)) for at, value in saved)


class PerformanceTracker:
    """Success rate of each task in a window of environment steps.

    What methods read (:meth:`tensor`) comes from training episodes or from evaluations, whichever
    `source` names, and is estimated by `mtrl.rl.success_rate`. A task with fewer than `min_episodes`
    in the window has NaN: methods then weigh it as if uninformed. The charts show the plain rate
    of training episodes.

    Not counted are: episodes that began with random actions (warm-up) or with a policy from before
    the last reset of the networks, episodes cut short to stagger resets, diverged ones, and
    evaluations of a policy from before a reset.

    Args:
        num_tasks: m.
        window: environment steps, over all tasks and workers.
        round_env_steps: steps in which every environment finishes an episode. The window of training
            episodes is at least as long, so that with many environments all of them count.
        source: what methods read.
        smoothing: see :func:`mtrl.rl.success_rate.success_rates`.
        min_episodes: with fewer, nothing is said of a task.
        baseline: single-task success rates B, `[m]`; None compares with 1.

    Attributes:
        episodes: training episodes so far, all of them.
        diverged: those of them that diverged.
    """

    def __init__(
        self,
        num_tasks: int,
        window: int,
        *,
        round_env_steps: int = 0,
        source: Literal["training", "evaluation"] = "training",
        smoothing: Smoothing = "shared_prior",
        min_episodes: int = 1,
        baseline: list[float] | None = None,
    ) -> None:
        self.smoothing: Smoothing = smoothing
        self.min_episodes = min_episodes
        self.baseline = baseline
        self.episodes = 0
        self.diverged = 0
        training = max(window, round_env_steps)
        self._episodes = Window(num_tasks, training)
        self._returns = Window(num_tasks, training)
        self._evaluations = Window(num_tasks, window)
        # The one place that decides what methods read.
        self._read = {"training": self._episodes, "evaluation": self._evaluations}[source]
        self._since = 0  # the first policy version that counts

    def on_episode(self, task: int, episode: Episode, env_steps: int) -> None:
        """Take a finished training episode."""
        self.episodes += 1
        self.diverged += episode.diverged
        if episode.partial or episode.diverged or episode.policy_version < self._since:
            return
        self._episodes.add(task, episode.success, env_steps)
        self._returns.add(task, episode.total_reward, env_steps)

    def on_evaluation(self, evaluation: Evaluation, env_steps: int) -> None:
        """Count the episodes of an evaluation of the policy at `env_steps`."""
        if evaluation.policy_version < self._since:
            return
        for task, row in enumerate(evaluation.success):
            for success in row:
                self._evaluations.add(task, success, env_steps)

    def on_reset(self, policy_version: int) -> None:
        """Forget everything: from `policy_version` on, new networks act."""
        for window in (self._episodes, self._returns, self._evaluations):
            window.clear()
        self._since = policy_version

    def success(self) -> list[float]:
        """Plain success rate of training episodes, `[m]`, NaN where no episode has counted yet."""
        return self._episodes.means()

    def mean_returns(self) -> list[float]:
        """Mean undiscounted return of training episodes, `[m]`, NaN where unknown."""
        return self._returns.means()

    def rates(self) -> list[float]:
        """The success rates that methods read, `[m]`, NaN where too little is known."""
        counts = np.array(self._read.counts())
        known = counts >= self.min_episodes
        rates = np.full(len(counts), np.nan)
        if known.any():
            successes = np.array(self._read.sums())[known]
            rates[known] = success_rates(successes, counts[known], self.smoothing)
        return rates.tolist()

    def standard_errors(self) -> list[float]:
        """Standard errors of the plain rates, were :meth:`rates` true, `[m]`; NaN as there."""
        counts = np.maximum(self._read.counts(), 1)
        return standard_errors(self.rates(), counts).tolist()

    def counts(self) -> list[int]:
        """Episodes that :meth:`rates` counts, `[m]`."""
        return self._read.counts()

    def ages(self, env_steps: int) -> list[float]:
        """Mean environment steps since the episodes of :meth:`rates` ended, `[m]`, NaN without any."""
        return self._read.ages(env_steps)

    def tensor(self, device: torch.device | str) -> Tensor:
        """:meth:`rates` for performance-informed methods, `[m]` float32."""
        return upload(torch.tensor(self.rates(), dtype=torch.float32), torch.device(device))

    def state_dict(self) -> dict[str, Any]:
        """The counts, the windows, and from which policy on episodes count."""
        return {
            "counts": {"episodes": self.episodes, "diverged": self.diverged},
            "episodes": self._episodes.state_dict(),
            "returns": self._returns.state_dict(),
            "evaluations": self._evaluations.state_dict(),
            "since": self._since,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        self.episodes = state["counts"]["episodes"]
        self.diverged = state["counts"]["diverged"]
        self._episodes.load_state_dict(state["episodes"])
        self._returns.load_state_dict(state["returns"])
        self._evaluations.load_state_dict(state["evaluations"])
        self._since = state["since"]
