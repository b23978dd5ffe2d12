"""How well each task is doing, as training sees it: value, count and age."""

from __future__ import annotations

from collections import deque
from typing import Any

import torch
from torch import Tensor

from mtrl.rl.fragment import Episode
from mtrl.runs.device import upload


class PerformanceTracker:
    """Success rate of each task over its last episodes, or from the last evaluation.

    Episodes cut short to stagger resets, and diverged ones, say nothing about success and are left
    out. A task without any counted episode has NaN: methods then weigh it as if uninformed.

    Args:
        num_tasks: m.
        window: episodes per task.
        source: `training` or `evaluation`; what :meth:`tensor` returns.
    """

    def __init__(self, num_tasks: int, window: int, source: str = "training") -> None:
        self.source = source
        self.episodes = [deque[bool](maxlen=window) for _ in range(num_tasks)]
        self.returns = [deque[float](maxlen=window) for _ in range(num_tasks)]
        self.updated_at = [0] * num_tasks  # env_steps at the last counted episode
        self.evaluated: list[float] | None = None
        self.evaluated_at = 0

    def update(self, task: int, episode: Episode, env_steps: int) -> None:
        """Count a finished training episode."""
        if episode.partial or episode.diverged:
            return
        self.episodes[task].append(episode.success)
        self.returns[task].append(episode.total_reward)
        self.updated_at[task] = env_steps

    def set_evaluation(self, success_rate: list[float], env_steps: int) -> None:
        """Take the result of an evaluation of the policy at `env_steps`."""
        self.evaluated = list(success_rate)
        self.evaluated_at = env_steps

    def success(self) -> list[float]:
        """Success rate over the window, NaN where no episode has counted yet."""
        return [sum(e) / len(e) if e else float("nan") for e in self.episodes]

    def mean_returns(self) -> list[float]:
        """Mean undiscounted return over the window, NaN where unknown."""
        return [sum(r) / len(r) if r else float("nan") for r in self.returns]

    def counts(self) -> list[int]:
        """Episodes in each window."""
        return [len(e) for e in self.episodes]

    def ages(self, env_steps: int) -> list[int]:
        """Environment steps since each task's value last changed."""
        if self.source == "evaluation":
            return [env_steps - self.evaluated_at] * len(self.episodes)
        return [env_steps - at for at in self.updated_at]

    def tensor(self, device: torch.device | str) -> Tensor:
        """What performance-informed methods read, `[m]` in [0, 1] or NaN."""
        if self.source == "training":
            values = self.success()
        else:
            values = self.evaluated or [float("nan")] * len(self.episodes)
        return upload(torch.tensor(values, dtype=torch.float32), torch.device(device))

    def state_dict(self) -> dict[str, Any]:
        """Windows and the last evaluation."""
        return {
            "episodes": [list(e) for e in self.episodes],
            "returns": [list(r) for r in self.returns],
            "updated_at": self.updated_at,
            "evaluated": self.evaluated,
            "evaluated_at": self.evaluated_at,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        for kept, saved in zip(self.episodes, state["episodes"], strict=True):
            kept.extend(saved)
        for kept, saved in zip(self.returns, state["returns"], strict=True):
            kept.extend(saved)
        self.updated_at = list(state["updated_at"])
        self.evaluated = state["evaluated"]
        self.evaluated_at = state["evaluated_at"]
