"""Metrics: gathered on the device, written once per interval.

`metrics.jsonl` holds only what a seed reproduces; rates, times and process events go to
`timing.jsonl`. TensorBoard gets both.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from mtrl.runs.tensorboard import EventFiles


class MetricLog:
    """Averages metrics over an interval and appends records.

    Args:
        folder: the run directory.
        task_names: names for the entries of `[m]` metrics.
        tensorboard: write event files too.
        clock: the counter that event files use as their step.
        parts: of the model that have a balancer each; event files group by them.
    """

    def __init__(
        self,
        folder: Path,
        task_names: Sequence[str],
        *,
        tensorboard: bool = True,
        clock: str = "env_steps",
        parts: Sequence[str] = (),
    ) -> None:
        self.clock = clock
        self.task_names = list(task_names)
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._metrics = (folder / "metrics.jsonl").open("ab+")
        self._timing = (folder / "timing.jsonl").open("ab+")
        self._events = EventFiles(folder, parts=parts) if tensorboard else None
        self._last_step = -1  # of the records so far

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
        self._sums = {}
        self._counts = {}
        return result

    def write(self, counters: Mapping[str, int], values: Mapping[str, Any]) -> None:
        """Append a record of reproducible values; `[m]` lists become one entry per task."""
        record = {**counters, **self._by_task(values)}
        self._append(self._metrics, record, counters[self.clock])

    def write_timing(self, counters: Mapping[str, int], values: Mapping[str, Any]) -> None:
        """Append a record of times, rates and process events."""
        self._append(self._timing, {**counters, **values}, counters[self.clock])

    def state_dict(self) -> dict[str, Any]:
        """What was added since the last record, and the lengths of the files, which are synced first."""
        return {
            "sums": dict(self._sums),
            "counts": dict(self._counts),
            "offsets": {Path(file.name).name: _synced_size(file) for file in self._files},
            "last_step": self._last_step,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict`, and drop what the files hold beyond it: it is written again."""
        self._sums = dict(state["sums"])
        self._counts = dict(state["counts"])
        for file in self._files:
            _cut(file, state["offsets"][Path(file.name).name])
        self._last_step = state["last_step"]
        if self._events is not None:
            self._events.resume(self._last_step + 1)

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()
        if self._events is not None:
            self._events.close()

    @property
    def _files(self) -> tuple[BinaryIO, BinaryIO]:
        return self._metrics, self._timing

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

    def _append(self, file: BinaryIO, record: dict[str, Any], step: int) -> None:
        # NaN is not JSON: an unknown value is null.
        clean = {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in record.items()
        }
        file.write(json.dumps(clean).encode() + b"\n")
        file.flush()
        self._last_step = max(self._last_step, step)
        if self._events is not None:
            self._events.add(clean, step)


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The records of a log.

    A line that is not a record is left out, and stderr says how many were; an unfinished last line,
    which may be in the making, is left out in silence.
    """
    if not path.is_file():
        return []
    *lines, _ = path.read_bytes().split(b"\n")
    records = [_record(line) for line in lines]
    whole = [record for record in records if record is not None]
    if len(whole) < len(records):
        print(
            f"warning: {path}: {len(records) - len(whole)} of {len(records)} lines are damaged; they"
            " are left out.",
            file=sys.stderr,
        )
    return whole


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line.strip(b"\0"))  # a file that lost its end can be padded with NULs
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _synced_size(file: BinaryIO) -> int:
    file.flush()
    os.fsync(file.fileno())
    return os.fstat(file.fileno()).st_size


def _cut(file: BinaryIO, size: int) -> None:
    """Shorten a log to `size` bytes. It is never lengthened: what a power loss took is said."""
    found = os.fstat(file.fileno()).st_size
    if found < size:
        print(
            f"warning: {file.name} holds {found} bytes, and the checkpoint knows {size}: the last"
            " records before it are lost. The log goes on after the last whole line.",
            file=sys.stderr,
        )
        file.seek(0)
        size = file.read().rfind(b"\n") + 1
    file.truncate(size)
