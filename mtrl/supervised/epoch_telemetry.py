"""Logs, status and live view of supervised training. Nothing here decides what training does."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from mtrl.balancing import Step
from mtrl.runs.directory import RunDirectory
from mtrl.runs.gramian_log import GramianLog
from mtrl.runs.metric_log import MetricLog
from mtrl.runs.progress import Column, Progress, View

_COUNTERS_S = 5.0  # between two looks at the counters in `status.json`
_REDRAW_S = 0.5


class EpochTelemetry:
    """Writes `metrics.jsonl`, `timing.jsonl`, `gramians.bin` and `status.json`, and feeds the live view.

    Args:
        run: takes the status.
        log: takes metrics and times.
        view: shows progress.
        copies: of the model; where there are several, names in the log begin with `start0/` and so on.
        method: shown.

    Attributes:
        prefixes: what names in the log begin with, of each copy.
    """

    def __init__(
        self, run: RunDirectory, log: MetricLog, view: View, *, copies: int, method: str
    ) -> None:
        self.run = run
        self.log = log
        self.view = view
        self.method = method
        self.prefixes = [f"start{i}/" for i in range(copies)] if copies > 1 else [""]
        parts = [prefix.rstrip("/") or "trunk" for prefix in self.prefixes]
        self.gramians = GramianLog(run.path, log.task_names, parts=parts, clock="epochs")
        self._earlier_s = 0.0  # wall time of earlier parts of a resumed run
        self._start = time.perf_counter()
        self._beat = self._shown = 0.0
        self._columns = [Column("loss", [math.nan] * len(log.task_names), ".3f")]

    @property
    def elapsed(self) -> float:
        """Seconds of the run, those before a resume included."""
        return self._earlier_s + time.perf_counter() - self._start

    def state_dict(self) -> dict[str, Any]:
        """The log, and the wall time so far."""
        return {"log": self.log.state_dict(), "wall_s": self.elapsed}

    def load_state_dict(self, state: Mapping[str, Any], updates: int) -> None:
        """Restore :meth:`state_dict` after so many updates."""
        self.log.load_state_dict(state["log"])
        self._earlier_s = state["wall_s"]
        self.gramians.truncate(updates)

    def on_update(
        self,
        copy: int,
        step: Step,
        behind: Sequence[float],
        counters: Mapping[str, int],
        *,
        diagnosed: bool,
    ) -> None:
        """Take what an update found.

        Args:
            copy: of the model.
            step: its metrics enter the averages of the epoch.
            behind: `[m]`, what performance-informed methods have read.
            counters: epochs and updates, this one included.
            diagnosed: whether the Gramian is to be kept.
        """
        if diagnosed and step.gramian is not None:
            self.gramians.add(
                self.gramians.parts[copy],
                counters["updates"],
                counters["epochs"],
                step.gramian,
                step.weights,
                torch.tensor(behind),
            )
        prefix = self.prefixes[copy]
        self.log.add({f"{prefix}{name}": value for name, value in step.metrics.items()})

    def take_means(self) -> dict[str, Any]:
        """The averages of the updates' metrics since the last call, by their names in the log."""
        values = {_log_name(name): value for name, value in self.log.means().items()}
        return {name: value for name, value in values.items() if name is not None}

    def on_epoch(
        self, counters: Mapping[str, int], values: Mapping[str, Any], columns: list[Column]
    ) -> None:
        """Write the record of an epoch; the live view shows `columns` from now on."""
        self.log.write(counters, values)
        self.log.write_timing(counters, {"wall_s": self.elapsed})
        self._columns = columns

    def report(self, counters: Mapping[str, int], done: float, epochs: int) -> None:
        """Write the counters and redraw, each when due.

        Args:
            counters: epochs and updates.
            done: share of the run.
            epochs: of the whole run.
        """
        now = time.perf_counter()
        if now - self._beat > _COUNTERS_S:
            self._beat = now
            self.run.write_status("running", **counters)
        if now - self._shown < _REDRAW_S:
            return
        self._shown = now
        self.view.update(
            Progress(
                title=self.run.path.name,
                done=done,
                seconds=self.elapsed,
                seconds_left=self.elapsed * (1.0 - done) / done,
                tasks=self.log.task_names,
                columns=self._columns,
                facts={
                    "epoch": f"{counters['epochs'] + 1} of {epochs}",
                    "updates": f"{counters['updates']:,}",
                    "method": self.method,
                },
            )
        )


def _log_name(name: str) -> str | None:
    """`weights` of an update becomes `balance/weight` in the log; `start0/` stays in front."""
    prefix, _, fact = name.rpartition("/")
    prefix = f"{prefix}/" if prefix else ""
    if fact == "losses":  # the statistics hold them
        return None
    fact = {"weights": "weight", "clipped": "clip_rate"}.get(fact, fact)
    return f"{prefix}balance/{fact}"
