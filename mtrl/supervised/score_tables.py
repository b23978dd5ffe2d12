"""Scores of an epoch as log values, as columns of the live view, and as the final result."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from mtrl.runs.progress import Column
from mtrl.supervised.selection import Baseline
from mtrl.supervised.task_metrics import Scores, Task, drops, summary, task_drops


class ScoreTables:
    """Names the numbers of a problem's tasks, beside single-task results where these are known.

    Args:
        tasks: of the problem.
        baseline: single-task results, or None.
    """

    def __init__(self, tasks: Sequence[Task], baseline: Baseline | None) -> None:
        self.tasks = tasks
        self.baseline = baseline

    def behind(self, scores: Scores) -> list[float]:
        """Each task's mean percentage behind its baseline, `[m]`; NaN without one."""
        if self.baseline is None:
            return [math.nan] * len(self.tasks)
        return task_drops(drops(self.tasks, scores.metrics, self.baseline))

    def log_values(self, prefix: str, scores: Scores) -> dict[str, Any]:
        """What the log says of scores; every name begins with `prefix`."""
        values: dict[str, Any] = {f"{prefix}loss": scores.losses}
        values[f"{prefix}mean_loss"] = scores.mean_loss
        for task, metrics in zip(self.tasks, scores.metrics, strict=True):
            values |= {f"{prefix}{name}/{task.name}": value for name, value in metrics.items()}
        if self.baseline is not None:
            rows = drops(self.tasks, scores.metrics, self.baseline)
            values[f"{prefix}drop"] = task_drops(rows)
            values |= {f"{prefix}{name}": value for name, value in summary(rows).items()}
        return values

    def result(self, scores: Scores) -> dict[str, Any]:
        """What `eval/final.json` says of scores."""
        names = [task.name for task in self.tasks]
        result: dict[str, Any] = {
            "losses": dict(zip(names, scores.losses, strict=True)),
            "metrics": dict(zip(names, scores.metrics, strict=True)),
        }
        if self.baseline is not None:
            rows = drops(self.tasks, scores.metrics, self.baseline)
            result |= {"drops": dict(zip(names, rows, strict=True)), **summary(rows)}
        return result

    def columns(self, scores: Scores, weights: list[float] | None) -> list[Column]:
        """What the live view shows of each task."""
        columns = [Column("loss", scores.losses, ".3f")]
        for metric in self.tasks[0].metrics:
            shown = [row.get(metric.name, math.nan) for row in scores.metrics]
            columns.append(Column(metric.name, shown, ".3f"))
        if self.baseline is not None:
            columns.append(Column("behind %", self.behind(scores), ".1f"))
        return [*columns, Column("weight", weights, ".3g")] if weights else columns
