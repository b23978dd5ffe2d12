"""Options of the environments; the names are the keys of the `env` section of a config file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le


@dataclass(frozen=True)
class EnvConfig:
    """Which tasks to run and how.

    Attributes:
        tasks: a benchmark (`mt10`, `mt25`, `mt50`), a family of exact fake tasks (`fake3`: three of
            them), or a list of task names (`[reach-v3, push-v3]`, one name is MT1).
        reward_version: Meta-World's reward functions, `v2` (default) or the older `v1`.
        horizon: steps after which an episode is truncated; at most 500 for Meta-World.
        num_goals: fixed goals per task.
        benchmark_seed: fixes the goals; the same for every run that is to be compared.
        reward_normalization: `running` divides each task's reward by a running deviation, as the
            balancing papers' code base does; `none` leaves the reward as it is.
        fast: step Meta-World with the exact fast classes, about three times as fast and bit for bit
            the same; false takes the library's own.
    """

    tasks: str | list[str] = "mt10"
    reward_version: Literal["v1", "v2"] = "v2"
    horizon: Annotated[int, Ge(1), Le(500)] = 500
    num_goals: Annotated[int, Ge(1), Le(1000)] = 50
    benchmark_seed: Annotated[int, Ge(0)] = 42
    reward_normalization: Literal["none", "running"] = "none"
    fast: bool = True
