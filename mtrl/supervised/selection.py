"""Which epoch's models are the result of a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from torch import Tensor

from mtrl.balancing.diagnostics import ROW_MEASURES
from mtrl.supervised.task_metrics import Scores, Task, drops, summary

Baseline = Mapping[str, Mapping[str, float]]
"""Task -> metric -> single-task result."""
Models = list[dict[str, Tensor]]
# What RGB's paper reports of the model at the lowest mean validation loss (and the cosine to the mean).
_AT_LOWEST_LOSS = {
    *ROW_MEASURES, *(f"raw_{name}" for name in ROW_MEASURES), "cos_to_mean_avg", "delta_m",
}  # fmt: skip


class Selection:
    """Keeps the models of the best epoch, and what the log says at the lowest validation loss.

    Args:
        tasks: of the problem.
        baseline: single-task results; None compares with the first epoch, since any reference ranks
            one metric alike.
        select: what ranks epochs: `delta_m`, the mean validation `loss`, or the `last` one.

    Attributes:
        best: `selected` (merit, epoch, models) and `lowest_loss` (loss, epoch, measures), once known.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        baseline: Baseline | None,
        select: Literal["delta_m", "loss", "last"],
    ) -> None:
        self.tasks = tasks
        self.select = select
        self.best: dict[str, dict[str, Any]] = {}
        self._baseline = baseline
        self._references: list[Baseline] = []  # of each copy

    def on_epoch(
        self,
        epoch: int,
        scores: Sequence[Scores],
        values: Mapping[str, Any],
        models: Callable[[], Models],
    ) -> None:
        """Take the result of an epoch.

        Args:
            epoch: epochs done.
            scores: of each copy, on the validation split.
            values: what the log says of this epoch.
            models: copies the models' states.
        """
        loss = sum(score.mean_loss for score in scores) / len(scores)
        if not self._references:
            self._references = [self._baseline or self._first(score) for score in scores]
        rows = zip(scores, self._references, strict=True)
        behind = [summary(drops(self.tasks, s.metrics, r))["delta_m"] for s, r in rows]
        merits = {"delta_m": sum(behind) / len(behind), "loss": loss, "last": -float(epoch)}
        merit = merits[self.select]
        if self._improves("selected", "merit", merit):
            self.best["selected"] = {"merit": merit, "epoch": epoch, "models": models()}
        if self._improves("lowest_loss", "loss", loss):
            facts = {k: v for k, v in values.items() if k.rpartition("/")[2] in _AT_LOWEST_LOSS}
            self.best["lowest_loss"] = {"loss": loss, "epoch": epoch, **facts}

    def state_dict(self) -> dict[str, Any]:
        """The best so far, and what it is compared with."""
        return {"best": self.best, "references": self._references}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        self.best = state["best"]
        self._references = state["references"]

    def _first(self, score: Scores) -> Baseline:
        rows = zip(self.tasks, score.metrics, strict=True)
        return {task.name: {name: v or 1.0 for name, v in row.items()} for task, row in rows}

    def _improves(self, kind: str, key: str, value: float) -> bool:
        """Whether a value is lower than the best so far; an unknown one (NaN) gives way to any."""
        if kind not in self.best:
            return True
        before = self.best[kind][key]
        return math.isnan(before) or value < before
