"""What a benchmark is: tasks on one shared input, data, a model, a recipe, single-task results.

A benchmark is one file with one subclass of :class:`Problem`; its keyword arguments are its options.
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
    """Sum over count."""
    return statistic[0] / statistic[1]


@dataclass(frozen=True)
class Metric:
    """A number that says how well a task is solved.

    Attributes:
        name: `accuracy`.
        higher_is_better: its direction.
        measure: `(prediction, target) -> statistic`, a float64 tensor of fixed shape that adds up over
            batches: `[sum, count]`, a confusion matrix.
        value: the number, from the statistic of a whole split.
        unit: for tables; empty for fractions.
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
        name: in logs and tables.
        loss: `(prediction, target) -> scalar`, a mean over the batch.
        metrics: at least one.
    """

    name: str
    loss: Callable[[Tensor, Tensor], Tensor]
    metrics: tuple[Metric, ...]


@dataclass(frozen=True)
class Recipe:
    """How a benchmark is trained.

    Attributes:
        epochs, batch_size, learning_rate, weight_decay, betas: of Adam.
        halve_every: epochs after which the learning rate is halved; 0 is never.
        cosine: anneal the learning rate to zero over the epochs.
        select: the epoch whose model is tested: lowest validation Delta-m, lowest mean validation
            loss, or the last.
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
    """Inputs, and one target for each task."""

    inputs: Tensor
    targets: tuple[Tensor, ...]

    def to(self, device: torch.device) -> Batch:
        """The same on another device."""
        targets = tuple(t.to(device, non_blocking=True) for t in self.targets)
        return Batch(self.inputs.to(device, non_blocking=True), targets)


class Data(Protocol):
    """Samples of a split."""

    def __len__(self) -> int:
        """How many."""
        ...

    def __getitem__(self, indices: Tensor) -> Batch:
        """The samples at these indices `[b]`, as one batch."""
        ...


class TensorData:
    """A split in memory.

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
    """A trunk that all tasks share, and a head for each; every parameter belongs to one of them."""

    @abc.abstractmethod
    def forward(self, inputs: Tensor) -> Sequence[Tensor]:
        """One prediction for each task."""

    @abc.abstractmethod
    def head_parameters(self, task: int) -> dict[str, nn.Parameter]:
        """What belongs to one task alone; empty where it has no head."""

    def shared_parameters(self) -> dict[str, nn.Parameter]:
        """What no head holds."""
        own = {id(p) for task in range(self.num_tasks) for p in self.head_parameters(task).values()}
        return {name: p for name, p in self.named_parameters() if id(p) not in own}

    num_tasks: int


class TrunkAndHeads(Model):
    """The usual case: `heads[i](trunk(inputs))`.

    Args:
        trunk: of all tasks.
        heads: one for each task.
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
        """Parameters of the task's head."""
        named = self.heads[task].named_parameters()
        return {f"heads.{task}.{name}": parameter for name, parameter in named}


class BaseProblem:
    """What every benchmark says of itself.

    Attributes:
        tasks: in the order of predictions and targets.
        recipe: how it is trained unless a config says otherwise.
        baseline: single-task results on the test split, task -> metric -> value; None where there are
            none yet.
        baseline_source: where they are from.
        lower_bound: below every loss; methods that take logarithms or ratios see losses above it.
    """

    tasks: tuple[Task, ...]
    recipe: Recipe
    baseline: Mapping[str, Mapping[str, float]] | None = None
    baseline_source: str = ""
    lower_bound: float = 0.0

    def finish_all(self, runs: Mapping[str, Path], picture: Path) -> Path | None:
        """Draw runs of several methods together; None where there is nothing to draw."""
        return None


class Problem(BaseProblem, abc.ABC):
    """A benchmark with data and a model, for the trainer.

    Attributes:
        copies: models trained side by side, each with a balancer of its own.
    """

    copies: int = 1

    @abc.abstractmethod
    def data(self, split: Split, seed: int) -> Data:
        """The samples of a split. The seed is for splits that are drawn."""

    @abc.abstractmethod
    def model(self, copy: int = 0) -> Model:
        """A fresh model; the caller seeds torch's generator."""

    def facts(self, model: Model) -> dict[str, float]:
        """What else to log of a model after each epoch."""
        return {}

    def finish(self, run: Path, models: Sequence[Model]) -> list[Path]:
        """Write what else a run leaves, pictures for instance; returns the files."""
        return []
