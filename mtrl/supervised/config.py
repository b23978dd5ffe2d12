"""Options of a supervised run; the names are the keys of a config file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt

Beta = Annotated[float, Ge(0), Lt(1)]


@dataclass(frozen=True)
class RecipeConfig:
    """What differs from the benchmark's own recipe; null leaves it. See `Recipe`."""

    epochs: Annotated[int, Ge(1)] | None = None
    batch_size: Annotated[int, Ge(1)] | None = None
    learning_rate: Annotated[float, Gt(0)] | None = None
    weight_decay: Annotated[float, Ge(0)] | None = None
    betas: tuple[Beta, Beta] | None = None
    halve_every: Annotated[int, Ge(0)] | None = None
    cosine: bool | None = None
    select: Literal["delta_m", "loss", "last"] | None = None
    feedback: Literal["train", "val"] | None = None


@dataclass(frozen=True)
class BalanceConfig:
    """What surrounds the balancing method.

    Attributes:
        clip: bound trunk and heads separately, or jointly.
        max_grad_norm: bound on the gradient norm, after aggregation; 0 is none.
        head_scaling: heads take their own task's gradient (`unit`), or scaled by its weight.
        gradients: task gradients as batched vector-Jacobian products, or in a loop of backward passes.
    """

    clip: Literal["separate", "joint"] = "separate"
    max_grad_norm: Annotated[float, Ge(0)] = 0.0
    head_scaling: Literal["unit", "weights"] = "unit"
    gradients: Literal["batched", "loop"] = "batched"


@dataclass(frozen=True)
class RunConfig:
    """Run directory and intervals.

    Attributes:
        directory: of all runs.
        name: of this one, before method, seed and time; empty takes the problem's.
        tensorboard: write event files.
        record_interval_updates: updates between two that measure conflict and record the Gramian; 0 is
            never.
        checkpoint_interval_epochs: epochs between checkpoints.
        keep_checkpoints: how many stay.
    """

    directory: str = "runs"
    name: str = ""
    tensorboard: bool = True
    record_interval_updates: Annotated[int, Ge(0)] = 50
    checkpoint_interval_epochs: Annotated[int, Ge(1)] = 10
    keep_checkpoints: Annotated[int, Ge(1), Le(100)] = 2


@dataclass(frozen=True)
class SupervisedConfig:
    """Everything that `mtrl supervised` can be told.

    Attributes:
        problem: a benchmark, or `FILE.py:Class`.
        problem_options: its options.
        data_root: folder of its data, where it needs one.
        method: a balancing method; `stl` trains single tasks, `all` every method one after another.
        method_options: the method's options.
        task: with `stl`, the task to train; `all` trains each.
        grid: key -> list of values; every combination is trained, one after another.
        baseline: files of single-task results to compare with, averaged; empty takes the benchmark's.
        seed: of data order, initialisation and the method.
        device: `auto` takes a GPU when there is one.
        threads: CPU threads; 0 leaves torch's own choice.
    """

    problem: str
    problem_options: dict[str, Any] = field(default_factory=dict)
    data_root: str = ""
    method: str = "ls"
    method_options: dict[str, Any] = field(default_factory=dict)
    task: str = "all"
    grid: dict[str, Any] = field(default_factory=dict)
    baseline: list[str] = field(default_factory=list)
    seed: Annotated[int, Ge(0)] = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Annotated[int, Ge(0)] = 0
    recipe: RecipeConfig = field(default_factory=RecipeConfig)
    balancing: BalanceConfig = field(default_factory=BalanceConfig)
    run: RunConfig = field(default_factory=RunConfig)
