"""The parts of a supervised problem: tasks on one shared input, data, model, recipe and baseline.

A problem is one file with one subclass of :class:`Problem`; its keyword arguments are its options.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


def ratio(statistic: Tensor) -> Tensor:
    """The mean, from a statistic `[sum, count]`."""
    return statistic[0] / statistic[1]


@dataclass(frozen=True)
class Metric:
    """A measure of how well a task is solved.

    Attributes:
        name: name in logs and tables, such as `accuracy`.
        higher_is_better: whether larger values are better.
        measure: `(prediction, target) -> statistic`. The statistic is a float64 tensor of fixed shape
            that can be summed over batches, such as `[sum, count]` or a confusion matrix.
        value: computes the metric from the statistic of a whole split.
        unit: unit, for tables; empty for fractions.
    """

    name: str
    higher_is_better: bool
    measure: Callable[[Tensor, Tensor], Tensor]
    value: Callable[[Tensor], Tensor] = ratio
    unit: str = ""


@dataclass(frozen=True)
class Task:
    """One output of the model.

    Attributes:
        name: name in logs and tables.
        loss: `(prediction, target) -> scalar`, a mean over the batch.
        metrics: at least one metric.
    """

    name: str
    loss: Callable[[Tensor, Tensor], Tensor]
    metrics: tuple[Metric, ...]


@dataclass(frozen=True)
class Recipe:
    """How a problem is trained.

    Attributes:
        epochs: number of epochs.
        batch_size: samples per batch.
        learning_rate: learning rate of Adam.
        weight_decay: weight decay of Adam.
        betas: decay rates of Adam's moments.
        halve_every: epochs after which the learning rate is halved; 0 is never.
        cosine: anneal the learning rate to zero over the epochs by a cosine.
        select: the epoch whose model is tested: the one with the lowest validation Delta-m, with the
            lowest mean validation loss, or the last.
        feedback: the split whose metrics performance-informed methods read.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    halve_every: int = 0
    cosine: bool = False
    select: Literal["delta_m", "loss", "last"] = "delta_m"
    feedback: Literal["train", "val"] = "val"


class Batch(NamedTuple):
    """The inputs of a batch, and one target for each task."""

    inputs: Tensor
    targets: tuple[Tensor, ...]

    def to(self, device: torch.device) -> Batch:
        """Copy the batch to a device."""
        targets = tuple(t.to(device, non_blocking=True) for t in self.targets)
        return Batch(self.inputs.to(device, non_blocking=True), targets)


class Data(Protocol):
    """The samples of a split."""

    def __len__(self) -> int:
        """Number of samples."""
        ...

    def __getitem__(self, indices: Tensor) -> Batch:
        """One batch of the samples at indices `[b]`."""
        ...


class TensorData:
    """The samples of a split, in memory.

    Args:
        inputs: `[N, ...]`.
        targets: one tensor `[N, ...]` for each task.
    """

    def __init__(self, inputs: Tensor, targets: Sequence[Tensor]) -> None:
        self.inputs, self.targets = inputs, tuple(targets)

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, indices: Tensor) -> Batch:
        return Batch(self.inputs[indices], tuple(target[indices] for target in self.targets))


class Model(nn.Module, abc.ABC):
    """A trunk that all tasks share, and a head for each task.

    Attributes:
        num_tasks: m.
    """

    @abc.abstractmethod
    def forward(self, inputs: Tensor) -> Sequence[Tensor]:
        """One prediction for each task."""

    @abc.abstractmethod
    def head_parameters(self, task: int) -> dict[str, nn.Parameter]:
        """Parameters of one task's head by name; empty if it has no head."""

    def shared_parameters(self) -> dict[str, nn.Parameter]:
        """Parameters of the trunk by name: those that no head has."""
        own = {id(p) for task in range(self.num_tasks) for p in self.head_parameters(task).values()}
        return {name: p for name, p in self.named_parameters() if id(p) not in own}

    num_tasks: int


class TrunkAndHeads(Model):
    """The usual case: `heads[i](trunk(inputs))`.

    Args:
        trunk: the network that all tasks share.
        heads: one network for each task.
    """

    def __init__(self, trunk: nn.Module, heads: Sequence[nn.Module]) -> None:
        super().__init__()
        self.trunk, self.heads = trunk, nn.ModuleList(heads)
        self.num_tasks = len(heads)

    def forward(self, inputs: Tensor) -> list[Tensor]:
        """One prediction for each task."""
        features = self.trunk(inputs)
        return [head(features) for head in self.heads]

    def head_parameters(self, task: int) -> dict[str, nn.Parameter]:
        """Parameters of the task's head by name."""
        named = self.heads[task].named_parameters()
        return {f"heads.{task}.{name}": parameter for name, parameter in named}


class BaseProblem:
    """Properties of all problems, with or without data.

    Attributes:
        tasks: the tasks, in the order of predictions and targets.
        recipe: how the problem is trained, unless a config changes it.
        baseline: single-task results on the test split, task -> metric -> value; None if there are none.
        baseline_source: source of the baseline.
        lower_bound: a number below every loss. It is subtracted from the losses that methods with
            logarithms or ratios read.
    """

    tasks: tuple[Task, ...]
    recipe: Recipe
    baseline: Mapping[str, Mapping[str, float]] | None = None
    baseline_source: str = ""
    lower_bound: float = 0.0

    def finish_all(self, runs: Mapping[str, Path], picture: Path) -> Path | None:
        """Draw the runs of several methods in one picture; None if there is nothing to draw."""
        return None


class Problem(BaseProblem, abc.ABC):
    """A problem with data and a model.

    Attributes:
        copies: number of models that are trained together, each with its own balancer.
    """

    copies: int = 1

    @abc.abstractmethod
    def data(self, split: Split, seed: int) -> Data:
        """The samples of a split. The seed is for problems that draw their splits."""

    @abc.abstractmethod
    def model(self, copy: int = 0) -> Model:
        """Make a new model; the caller seeds torch's generator."""

    def facts(self, model: Model) -> dict[str, float]:
        """Further numbers of a model to log after each epoch."""
        return {}

    def finish(self, run: Path, models: Sequence[Model]) -> list[Path]:
        """Write further files of a finished run, such as pictures; return their paths."""
        return []
