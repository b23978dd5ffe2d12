"""Statistics over a split, and what tables make of them: Delta-m in its two definitions, variance.

Two definitions of Delta-m are in use that differ in sign and size. The published tables of Nash-MTL's
lineage (PIVRG, RGB and SAM-GS among them) are the flat mean over all metrics, negative is better;
Gama and Grassi and LibMTL average within a task first and flip the sign (Delta_mtm). Both are here,
under their own names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mtrl.supervised.problem import Task


@dataclass(frozen=True)
class Scores:
    """What a model reaches on a split.

    Attributes:
        losses: `[m]`, means over samples.
        metrics: for each task its metrics, by name.
    """

    losses: list[float]
    metrics: list[dict[str, float]]

    @property
    def mean_loss(self) -> float:
        """Mean of the losses over tasks."""
        return sum(self.losses) / len(self.losses)


class Statistics:
    """Adds up what the metrics measure, batch by batch. Make a new one for every split and epoch.

    Args:
        tasks: of the problem.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.tasks = tasks
        self._totals: dict[str, Tensor] = {}

    @torch.no_grad()
    def add(self, predictions: Sequence[Tensor], targets: Sequence[Tensor], losses: Tensor) -> None:
        """Count a batch; `losses [m]` are its means."""
        count = len(targets[0])
        sums = losses.double() * count
        self._add("losses", torch.stack([sums, torch.full_like(sums, count)]))
        for task, prediction, target in zip(self.tasks, predictions, targets, strict=True):
            for metric in task.metrics:
                self._add(f"{task.name}/{metric.name}", metric.measure(prediction, target))

    def scores(self) -> Scores:
        """The numbers so far; nothing counted gives NaN."""
        if not self._totals:
            nothing = [{metric.name: float("nan") for metric in t.metrics} for t in self.tasks]
            return Scores([float("nan")] * len(self.tasks), nothing)
        total, count = self._totals["losses"]
        metrics = [
            {
                metric.name: float(metric.value(self._totals[f"{task.name}/{metric.name}"]))
                for metric in task.metrics
            }
            for task in self.tasks
        ]
        return Scores((total / count).tolist(), metrics)

    def state_dict(self) -> dict[str, Tensor]:
        """The sums, for a checkpoint within an epoch."""
        return dict(self._totals)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore :meth:`state_dict`."""
        self._totals = dict(state)

    def _add(self, name: str, statistic: Tensor) -> None:
        known = self._totals.get(name)
        # A checkpoint gives its sums back on the CPU.
        self._totals[name] = statistic if known is None else known.to(statistic.device) + statistic


Drops = list[dict[str, float]]
"""For each task the percentage by which each metric is worse than the baseline's."""


def drops(
    tasks: Sequence[Task],
    metrics: Sequence[Mapping[str, float]],
    baseline: Mapping[str, Mapping[str, float]],
) -> Drops:
    """`100 (M_b - M) / |M_b|`, with the sign turned where lower is better; positive is worse.

    Args:
        tasks: of the problem.
        metrics: for each task its metrics.
        baseline: task -> metric -> value, not zero.
    """
    result = []
    for task, values in zip(tasks, metrics, strict=True):
        row = {}
        for metric in task.metrics:
            reference = baseline[task.name][metric.name]
            sign = 1.0 if metric.higher_is_better else -1.0
            share = (reference - values[metric.name]) / abs(reference) if reference else math.nan
            row[metric.name] = 100.0 * sign * share
        result.append(row)
    return result


def task_drops(rows: Drops) -> list[float]:
    """`[m]`: each task's mean over its metrics; what performance-informed methods read."""
    return [sum(row.values()) / len(row) for row in rows]


def summary(rows: Drops) -> dict[str, float]:
    """The numbers that tables print.

    Returns:
        `delta_m`: mean over all metrics (PIVRG, equation 3; the tables of Nash-MTL's lineage), lower
        is better. `delta_m_task`: mean within tasks, then over tasks (the formula that RGB prints).
        `delta_mtm`: its negative (Gama and Grassi, equation 1), higher is better. `variance`: the
        population variance over all metrics (PIVRG).
    """
    flat = torch.tensor([value for row in rows for value in row.values()], dtype=torch.float64)
    nested = sum(task_drops(rows)) / len(rows)
    return {
        "delta_m": float(flat.mean()),
        "delta_m_task": nested,
        "delta_mtm": -nested,
        "variance": float(flat.var(unbiased=False)),
    }


# Statistics that several benchmarks use.


def accuracy(prediction: Tensor, target: Tensor) -> Tensor:
    """`[correct, count]` of logits `[b, classes]` against classes `[b]`."""
    correct = (prediction.argmax(-1) == target).sum()
    return torch.stack([correct, correct.new_tensor(target.numel())]).double()


def squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """`[sum of squares, count]` over all entries."""
    square = (prediction.double() - target.double()).square().sum()
    return torch.stack([square, square.new_tensor(target.numel())])


def absolute_error(prediction: Tensor, target: Tensor) -> Tensor:
    """`[sum of absolute errors, count]` over all entries."""
    error = (prediction.double() - target.double()).abs().sum()
    return torch.stack([error, error.new_tensor(target.numel())])


def mean_value(prediction: Tensor, target: Tensor) -> Tensor:
    """`[sum, count]` of the prediction itself, where it is the loss."""
    del target
    total = prediction.double().sum()
    return torch.stack([total, total.new_tensor(prediction.numel())])


def describe_units(tasks: Sequence[Task]) -> dict[str, Any]:
    """Names, directions and units, for files that outlive the code."""
    return {
        task.name: {
            metric.name: {"higher_is_better": metric.higher_is_better, "unit": metric.unit}
            for metric in task.metrics
        }
        for task in tasks
    }
