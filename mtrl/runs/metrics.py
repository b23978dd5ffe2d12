"""Metrics: gathered on the device, written once per interval.

`metrics.jsonl` holds only what a seed reproduces; rates, times and process events go to
`timing.jsonl`. TensorBoard gets both.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtrl.runs.tensorboard import EventFiles


class MetricLog:
    """Averages metrics over an interval and appends records.

    Args:
        folder: the run directory.
        task_names: names for the entries of `[m]` metrics.
        tensorboard: write event files too.
        offset: length of `metrics.jsonl` at the checkpoint that a run resumes from; what was written
            after it is dropped, because it will be written again.
        purge_step: drop what event files hold from this step on.
        clock: the counter that event files use as their step.
        parts: of the model that have a balancer each; event files group by them.
    """

    def __init__(
        self,
        folder: Path,
        task_names: Sequence[str],
        *,
        tensorboard: bool = True,
        offset: int | None = None,
        purge_step: int | None = None,
        clock: str = "env_steps",
        parts: Sequence[str] = (),
    ) -> None:
        self.clock = clock
        self.task_names = list(task_names)
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        metrics = folder / "metrics.jsonl"
        if offset is not None and metrics.exists():
            with metrics.open("r+b") as file:
                file.truncate(offset)
        self._metrics = metrics.open("a")
        self._timing = (folder / "timing.jsonl").open("a")
        self._writer: EventFiles | None = None
        if tensorboard:
            self._writer = EventFiles(folder, parts=parts, purge_step=purge_step)

    def add(self, metrics: Mapping[str, Tensor]) -> None:
        """Accumulate detached tensors, scalars or `[m]`; nothing is read from the device."""
        for name, value in metrics.items():
            if value.dim() > 1:
                continue  # facts for the caller, not for a log
            value = value.detach().to(torch.float64, copy=True)  # the next update may overwrite it
            if name in self._sums:
                # A checkpoint gives its sums back on the CPU.
                self._sums[name] = self._sums[name].to(value.device) + value
                self._counts[name] += 1
            else:
                self._sums[name], self._counts[name] = value, 1

    def means(self) -> dict[str, float | list[float]]:
        """The averages since the last call: the one transfer from the device."""
        result: dict[str, float | list[float]] = {
            name: (total / self._counts[name]).tolist() for name, total in self._sums.items()
        }
        self._sums, self._counts = {}, {}
        return result

    def write(self, counters: Mapping[str, int], values: Mapping[str, Any]) -> None:
        """Append a record of reproducible values; `[m]` lists become one entry per task."""
        record = {**counters, **self._by_task(values)}
        self._append(self._metrics, record, counters[self.clock])

    def write_timing(self, counters: Mapping[str, int], values: Mapping[str, Any]) -> None:
        """Append a record of times, rates and process events."""
        self._append(self._timing, {**counters, **values}, counters[self.clock])

    def offset(self) -> int:
        """Bytes of `metrics.jsonl` so far, for the checkpoint."""
        self._metrics.flush()
        return self._metrics.tell()

    def state_dict(self) -> dict[str, Any]:
        """What was added since the last record."""
        return {"sums": dict(self._sums), "counts": dict(self._counts)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        self._sums, self._counts = dict(state["sums"]), dict(state["counts"])

    def close(self) -> None:
        """Close the files."""
        self._metrics.close()
        self._timing.close()
        if self._writer is not None:
            self._writer.close()

    def _by_task(self, values: Mapping[str, Any]) -> dict[str, Any]:
        flat: dict[str, Any] = {}
        for name, value in values.items():
            if isinstance(value, list):
                # `charts/{task}_success_rate` keeps the field's spelling; others append the task.
                for task, entry in zip(self.task_names, value, strict=True):
                    key = name.replace("{task}", task) if "{task}" in name else f"{name}/{task}"
                    flat[key] = entry
            else:
                flat[name] = value
        return flat

    def _append(self, file: Any, record: dict[str, Any], step: int) -> None:
        # NaN is not JSON: an unknown value is null.
        clean = {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in record.items()
        }
        file.write(json.dumps(clean) + "\n")
        file.flush()
        if self._writer is not None:
            self._writer.add(clean, step)


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The records of a log; a torn last line is left out."""
    records = []
    if path.is_file():
        for line in path.read_text().splitlines():
            try:
                records.append(json.loads(line))
            except ValueError:
                break
    return records
