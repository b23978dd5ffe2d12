"""Gramians of the task gradients over a run, in one small binary file.

`gramians.json` holds the names of tasks and parts and the layout; `gramians.bin` is an array of records
of fixed size, about half a kilobyte for ten tasks.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

def _layout(num_tasks: int) -> np.dtype:
    return np.dtype(
        [
            ("updates", "<i8"),
            ("clock", "<i8"),
            ("part", "<i4"),
            ("gramian", "<f4", (num_tasks, num_tasks)),
            ("weights", "<f4", (num_tasks,)),
            ("performance", "<f4", (num_tasks,)),
        ]
    )


class GramianLog:
    """Appends records; the file appears with the first one.

    Args:
        folder: the run directory.
        task_names: in the order of rows.
        parts: names of the networks; each has its own Gramians.
        clock: what the second count of a record is.
    """

    def __init__(
        self,
        folder: Path,
        task_names: Sequence[str],
        *,
        parts: Sequence[str],
        clock: str = "env_steps",
    ) -> None:
        self.folder = folder
        self.task_names = list(task_names)
        self.parts = list(parts)
        self.clock = clock
        self._layout = _layout(len(self.task_names))

    def add(
        self,
        part: str,
        updates: int,
        clock: int,
        gramian: Tensor,
        weights: Tensor | None,
        performance: Tensor,
    ) -> None:
        """Append one record; missing weights are NaN."""
        record = np.zeros((), self._layout)
        record["updates"], record["clock"] = updates, clock
        record["part"] = self.parts.index(part)
        record["gramian"] = gramian.cpu().numpy()
        record["weights"] = np.nan if weights is None else weights.cpu().numpy()
        record["performance"] = performance.cpu().numpy()
        if not (self.folder / "gramians.json").exists():
            self._write_header()
        with (self.folder / "gramians.bin").open("ab") as file:
            file.write(record.tobytes())

    def truncate(self, updates: int) -> None:
        """Drop records of later updates than the one that a run resumes from, and a torn last one."""
        path = self.folder / "gramians.bin"
        if path.exists():
            keep = _whole_records(path, self._layout)
            kept = keep[keep["updates"] <= updates]
            with path.open("r+b") as file:
                file.truncate(len(kept) * self._layout.itemsize)
            self._write_header()  # whatever became of it

    def _write_header(self) -> None:
        facts = {
            "tasks": self.task_names,
            "parts": self.parts,
            "clock": self.clock,
            "layout": self._layout.descr,
        }
        header = self.folder / "gramians.json"
        temporary = header.with_name(f".{header.name}.tmp")
        temporary.write_text(json.dumps(facts))
        temporary.replace(header)


def read_gramians(folder: Path) -> np.ndarray:
    """All whole records of a run, as a structured array.

    Its fields: `updates`, `clock`, `part` (`gramians.json` names both), `gramian [m, m]`,
    `weights [m]`, `performance [m]`.
    """
    tasks = json.loads((folder / "gramians.json").read_text())["tasks"]
    return _whole_records(folder / "gramians.bin", _layout(len(tasks)))


def _whole_records(path: Path, layout: np.dtype) -> np.ndarray:
    content = path.read_bytes()
    whole = len(content) // layout.itemsize * layout.itemsize
    return np.frombuffer(content[:whole], layout)
