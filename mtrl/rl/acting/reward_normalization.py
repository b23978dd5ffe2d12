"""Reward normalisation of the balancing papers' code base."""

from __future__ import annotations

import math
from typing import Any


class RunningRewardScale:
    """Divide a task's reward by a running deviation.

    `mean <- (1 - rate) mean + rate r; var <- (1 - rate) var + rate (r - mean)^2; r / sqrt(var)`, from
    mean 0 and variance 1, as the environments of the balancing papers' MT10 protocol do.
    """

    def __init__(self, rate: float = 0.001) -> None:
        self.rate = rate
        self.mean = 0.0
        self.variance = 1.0

    def __call__(self, reward: float) -> float:
        """Update with one reward and return it normalised."""
        self.mean += self.rate * (reward - self.mean)
        self.variance += self.rate * ((reward - self.mean) ** 2 - self.variance)
        return reward / (math.sqrt(self.variance) + 1e-8)

    def state_dict(self) -> dict[str, Any]:
        """Mean and variance."""
        return {"mean": self.mean, "variance": self.variance}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        self.mean = state["mean"]
        self.variance = state["variance"]
