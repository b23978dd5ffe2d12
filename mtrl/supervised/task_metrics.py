"""Metrics over a split, and Delta-m in its two definitions.

The two definitions of Delta-m differ in sign and size. In the tables of Nash-MTL and the papers that
follow it (PIVRG, RGB, SAM-GS) it is the flat mean over all metrics, and negative is better. Gama and
Grassi and LibMTL take the mean within a task first and flip the sign (Delta_mtm). We compute both, under
different names.
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
    """Losses and metrics of a model on a split.

    Attributes:
        losses: mean loss of each task over the samples, `[m]`.
        metrics: for each task its metrics by name.
    """

    losses: list[float]
    metrics: list[dict[str, float]]

    @property
    def mean_loss(self) -> float:
        """Mean of the losses over tasks."""
        return sum(self.losses) / len(self.losses)


class Statistics:
    """Sums the statistics of metrics over batches. Make a new one for every split and epoch.

    Args:
        tasks: tasks of the problem.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self.tasks = tasks
        self._totals: dict[str, Tensor] = {}

    @torch.no_grad()
    def add(self, predictions: Sequence[Tensor], targets: Sequence[Tensor], losses: Tensor) -> None:
        """Add a batch; `losses [m]` are means over its samples."""
        count = len(targets[0])
        sums = losses.double() * count
        self._add("losses", torch.stack([sums, torch.full_like(sums, count)]))
        for task, prediction, target in zip(self.tasks, predictions, targets, strict=True):
            for metric in task.metrics:
                self._add(f"{task.name}/{metric.name}", metric.measure(prediction, target))

    def scores(self) -> Scores:
        """Losses and metrics of all batches so far; NaN if there are none."""
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
        """The sums, for a checkpoint during an epoch."""
        return dict(self._totals)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self._totals = dict(state)

    def _add(self, name: str, statistic: Tensor) -> None:
        known = self._totals.get(name)
        # Sums from a checkpoint are on the CPU.
        self._totals[name] = statistic if known is None else known.to(statistic.device) + statistic


Drops = list[dict[str, float]]
"""For each task and metric, the percentage by which the metric is worse than the baseline."""


def drops(
    tasks: Sequence[Task],
    metrics: Sequence[Mapping[str, float]],
    baseline: Mapping[str, Mapping[str, float]],
) -> Drops:
    """The drop of each metric against the baseline in percent; positive is worse.

    It is `100 (M_b - M) / |M_b|`, with the opposite sign if lower is better; NaN for a baseline of 0.

    Args:
        tasks: tasks of the problem.
        metrics: for each task its metrics by name.
        baseline: task -> metric -> value.
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
    """Mean drop of each task over its metrics, `[m]`; performance-informed methods read it."""
    return [sum(row.values()) / len(row) for row in rows]


def summary(rows: Drops) -> dict[str, float]:
    """Delta-m and variance of drops, for tables.

    Returns:
        `delta_m`: mean over all metrics, lower is better (PIVRG, equation 3; Nash-MTL's tables).
        `delta_m_task`: mean within tasks, then over tasks (the formula that RGB prints).
        `delta_mtm`: its negative, higher is better (Gama and Grassi, equation 1).
        `variance`: population variance over all metrics (PIVRG).
    """
    flat = torch.tensor([value for row in rows for value in row.values()], dtype=torch.float64)
    nested = sum(task_drops(rows)) / len(rows)
    return {
        "delta_m": float(flat.mean()),
        "delta_m_task": nested,
        "delta_mtm": -nested,
        "variance": float(flat.var(unbiased=False)),
    }


# Statistics that several problems use.


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
    """`[sum, count]` of the prediction, for problems whose prediction is the loss."""
    del target
    total = prediction.double().sum()
    return torch.stack([total, total.new_tensor(prediction.numel())])


def describe_units(tasks: Sequence[Task]) -> dict[str, Any]:
    """Direction and unit of each metric, to be stored with the results."""
    return {
        task.name: {
            metric.name: {"higher_is_better": metric.higher_is_better, "unit": metric.unit}
            for metric in task.metrics
        }
        for task in tasks
    }
