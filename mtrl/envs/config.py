"""Options of the environments; the names are the keys of the `env` section of a config file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le


@dataclass(frozen=True)
class EnvConfig:
    """Options of the tasks.

    Attributes:
        tasks: a suite of Meta-World (`mt10`, `mt25`, `mt50`), fake tasks (`fake3`: three of them), or a
            list of task names (`[reach-v3, push-v3]`; one name is MT1).
        reward_version: Meta-World's reward functions: `v2` (default) or the older `v1`.
        horizon: steps after which an episode is truncated; at most 500 for Meta-World.
        num_goals: fixed goals per task.
        benchmark_seed: seed of the goals. Runs that are compared need the same one.
        reward_normalization: `running` divides each task's reward by a running standard deviation, as
            the balancing papers' code does; `none` leaves the reward unchanged.
        fast: step Meta-World with our fast classes, which give the same bits about three times as fast;
            false takes the library's classes.
    """

    tasks: str | list[str] = "mt10"
    reward_version: Literal["v1", "v2"] = "v2"
    horizon: Annotated[int, Ge(1), Le(500)] = 500
    num_goals: Annotated[int, Ge(1), Le(1000)] = 50
    benchmark_seed: Annotated[int, Ge(0)] = 42
    reward_normalization: Literal["none", "running"] = "none"
    fast: bool = True
