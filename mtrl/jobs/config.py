"""The configurations of `mtrl train` and `mtrl supervised`: the sections that the rooms own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge

from mtrl.distributed.config import RayConfig
from mtrl.envs.config import EnvConfig
from mtrl.rl.config import (
    BalancingConfig,
    CollectConfig,
    EvaluationConfig,
    NetworkConfig,
    ReplayConfig,
    RunConfig,
    SACConfig,
    ScheduleConfig,
)
from mtrl.supervised.config import BalanceConfig, RecipeConfig
from mtrl.supervised.config import RunConfig as SupervisedRunConfig

ALL = "all"
"""The value of `method` that trains every method, and of `task` that trains every single task."""

SINGLE_TASK = "stl"
"""The value of `method` that trains one task at a time."""


@dataclass(frozen=True)
class TrainConfig:
    """Everything that `mtrl train` can be told.

    Attributes:
        method: balancing method, see `mtrl methods`.
        method_options: its options. They belong to the method that is named beside or below them: a
            later layer that names another method drops them. `fixed` takes `log`, the `metrics.jsonl`
            of a run, in place of `weights`: its last exponential mean of `key`
            (`balance/weight/critic`) with `decay` (0.9).
        seed: of everything but the goals.
        device: of the learner; `auto` takes a GPU when there is one.
        precision: of the networks' products: `tf32` (GPU only) rounds their inputs to 10 bits; `bf16`
            computes the trunks in it. Parameters, Gramians, methods, losses and optimisers stay in
            float32 or better.
        cuda_graphs: on a GPU, capture updates once and replay them; false runs them call by call.
        learner_threads: CPU threads of the learner; 0 leaves torch's own choice.
    """

    example: ClassVar[str] = "mt10/default"

    networks: NetworkConfig
    method: str = "ls"
    method_options: dict[str, Any] = field(default_factory=dict)
    seed: Annotated[int, Ge(0)] = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["float32", "tf32", "bf16"] = "float32"
    cuda_graphs: bool = True
    learner_threads: Annotated[int, Ge(0)] = 0
    env: EnvConfig = field(default_factory=EnvConfig)
    sac: SACConfig = field(default_factory=SACConfig)
    balancing: BalancingConfig = field(default_factory=BalancingConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    collect: CollectConfig = field(default_factory=CollectConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    ray: RayConfig = field(default_factory=RayConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        """Refuse what contradicts itself, whatever methods, tasks and machines there are.

        Raises:
            ValueError: the message names object, expectation, finding and remedy.
        """
        if self.method in (ALL, SINGLE_TASK) or "," in self.method:
            raise ValueError(
                f"`mtrl train` trains one method. Found `method={self.method}`: start a run for each."
                " (`mtrl supervised` knows `method=all`, `method=stl` and `grid.method=[a, b]`.)"
            )
        if self.sac.batch_size > self.replay.capacity:
            raise ValueError(
                f"`sac.batch_size` ({self.sac.batch_size} per task) is larger than `replay.capacity`"
                f" ({self.replay.capacity} per task). Lower the one or raise the other."
            )
        if self.schedule.mode == "async" and self.collect.collector == "local":
            raise ValueError(
                "`schedule.mode: async` needs workers beside the learner; `collect.collector` is local."
                " Use `schedule.mode=sync`, or `collect.collector=ray`."
            )
        if self.networks.log_std_min >= self.networks.log_std_max:
            raise ValueError(
                f"`networks.log_std_min` ({self.networks.log_std_min}) should be below"
                f" `networks.log_std_max` ({self.networks.log_std_max})."
            )
        _check_schedule(self.schedule)


def _check_schedule(schedule: ScheduleConfig) -> None:
    if schedule.max_policy_lag < schedule.publish_interval:
        raise ValueError(
            f"`schedule.max_policy_lag` ({schedule.max_policy_lag} updates) should be at least"
            f" `schedule.publish_interval` ({schedule.publish_interval}): a policy is that old before"
            " the next one is given out. Raise the one or lower the other."
        )
    # A total of 0 asks for the untrained policy. Any other run has something to learn.
    total, ratio = schedule.total_env_steps, schedule.updates_per_env_step
    if total > 0 and int((total - schedule.warmup) * ratio + 1e-9) < 1:
        raise ValueError(
            f"`schedule.total_env_steps` ({total:,}) has {schedule.warmup:,} steps of warm-up, and"
            f" {ratio:g} updates for each step after it make no whole update: nothing would be trained."
            " Collect more, or raise `schedule.updates_per_env_step`."
        )


@dataclass(frozen=True)
class SupervisedConfig:
    """All options of `mtrl supervised`.

    Attributes:
        problem: name of a problem, or `FILE.py:Class`.
        problem_options: options of the problem.
        data_root: folder of the problem's data, if it reads files.
        method: a balancing method; `stl` trains single tasks, `all` trains every method in turn.
        method_options: options of the method. `fixed` accepts `log`, the `metrics.jsonl` of a run, in
            place of `weights`. It takes the last exponential moving average of `key`
            (`balance/weight`) with `decay` (0.9).
        task: with `stl`, the task to train; `all` trains each.
        grid: key -> list of values; every combination is trained, in turn. `cases` is a list of
            settings, each of which sets several keys together.
        baseline: files of single-task results to compare with, averaged; empty takes the problem's.
        seed: seed of data order, initialisation and the method.
        device: `auto` takes a GPU if there is one.
        threads: number of CPU threads; 0 is torch's choice.
    """

    example: ClassVar[str] = "supervised/digits"

    problem: str
    problem_options: dict[str, Any] = field(default_factory=dict)
    data_root: str = ""
    method: str = "ls"
    method_options: dict[str, Any] = field(default_factory=dict)
    task: str = ALL
    grid: dict[str, Any] = field(default_factory=dict)
    baseline: list[str] = field(default_factory=list)
    seed: Annotated[int, Ge(0)] = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Annotated[int, Ge(0)] = 0
    recipe: RecipeConfig = field(default_factory=RecipeConfig)
    balancing: BalanceConfig = field(default_factory=BalanceConfig)
    run: SupervisedRunConfig = field(default_factory=SupervisedRunConfig)

    def __post_init__(self) -> None:
        """Refuse a list of methods.

        Raises:
            ValueError: `method` names several methods; the message says how to train them.
        """
        if "," in self.method:
            raise ValueError(
                f"`method` is one name, or all. Found {self.method!r}. Train several with"
                f" 'grid.method=[{self.method}]'."
            )
