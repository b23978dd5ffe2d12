"""Checkpoints: directories written whole, with checksums, without pickle.

A checkpoint is `step_<n>/` with one safetensors file per part of the state, `state.json` for all that
is not a tensor, and `manifest.json` with the SHA-256 of each file. It is written under a temporary
name, synced, and renamed; a crash at any moment leaves the previous checkpoint as it was.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

FORMAT = 3  # 2: stacked networks (decision D15); 3: windows of success rates (D12)
_TENSOR = "$tensor"
_ITEMS = "$items"


class CheckpointError(RuntimeError):
    """A checkpoint is missing, damaged or of another format."""


def save(folder: Path, step: int, state: Mapping[str, Any], *, keep: int = 2) -> Path:
    """Write a checkpoint and delete all but the newest.

    Args:
        folder: of all checkpoints of a run.
        step: names and orders checkpoints.
        state: nested dictionaries and lists of tensors and plain values; each top-level key becomes a
            file.
        keep: how many checkpoints stay.

    Returns:
        The checkpoint's directory.
    """
    return _write_checkpoint(folder, step, _snapshot(state), keep)


class Writer:
    """Writes checkpoints beside the caller, one at a time and in order.

    The state is copied at once, so that training may go on; only the disk is waited for elsewhere. An
    error of the disk is raised by the next call.

    Args:
        folder, keep: as for :func:`save`.
    """

    def __init__(self, folder: Path, *, keep: int = 2) -> None:
        self.folder, self.keep = folder, keep
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._last: Future[Path] | None = None

    def submit(self, step: int, state: Mapping[str, Any]) -> None:
        """Copy the state and begin to write it, after the last one is on disk."""
        self.wait()
        snapshot = _snapshot(state)
        self._last = self._executor.submit(
            _write_checkpoint, self.folder, step, snapshot, self.keep
        )

    def wait(self) -> None:
        """Until the last checkpoint is on disk."""
        if self._last is not None:
            last, self._last = self._last, None
            last.result()


_Snapshot = dict[str, tuple[Any, dict[str, Tensor]]]


def _snapshot(state: Mapping[str, Any]) -> _Snapshot:
    """Each part as plain values and copied tensors."""
    parts: _Snapshot = {}
    for part, content in state.items():
        tensors: dict[str, Tensor] = {}
        # Through JSON: the lists and dictionaries of a state may change while it is written.
        parts[part] = json.loads(json.dumps(_flatten(content, "", tensors))), tensors
    return parts


def _write_checkpoint(folder: Path, step: int, parts: _Snapshot, keep: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"step_{step:012d}"
    temporary = folder / f".{final.name}.{os.getpid()}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    for part, (_, tensors) in parts.items():
        if tensors:
            safetensors.torch.save_file(tensors, temporary / f"{part}.safetensors")
    _write(temporary / "state.json", {part: values for part, (values, _) in parts.items()})
    files = {
        path.name: {"sha256": _digest(path), "bytes": path.stat().st_size}
        for path in sorted(temporary.iterdir())
    }
    _write(temporary / "manifest.json", {"format": FORMAT, "step": step, "files": files})
    for path in temporary.iterdir():
        _sync(path)
    _sync(temporary)
    if final.exists():  # the same step again, after a resume
        shutil.rmtree(final)
    temporary.rename(final)
    _sync(folder)
    for old in _steps(folder)[:-keep]:
        shutil.rmtree(old)
    return final


def load(checkpoint: Path) -> dict[str, Any]:
    """Read one checkpoint, verified.

    Raises:
        CheckpointError: it is damaged, incomplete, or of another format.
    """
    try:
        manifest = json.loads((checkpoint / "manifest.json").read_text())
        if manifest["format"] != FORMAT:
            raise CheckpointError(
                f"{checkpoint} has format {manifest['format']}; this version reads {FORMAT}."
            )
        for name, expected in manifest["files"].items():
            if Path(name).name != name:
                raise CheckpointError(f"{checkpoint}: the manifest names {name!r}, not a file here.")
            path = checkpoint / name
            size = path.stat().st_size
            if size != expected["bytes"] or _digest(path) != expected["sha256"]:
                raise CheckpointError(
                    f"{path} is damaged: its checksum differs from the manifest's."
                )
        values = json.loads((checkpoint / "state.json").read_text())
        state = {}
        for part, content in values.items():
            file = f"{part}.safetensors"
            tensors = (
                safetensors.torch.load_file(checkpoint / file) if file in manifest["files"] else {}
            )
            state[part] = _restore(content, tensors)
        return state
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{checkpoint} is damaged: {error}") from error


def load_latest(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The newest valid checkpoint; damaged ones are reported on stderr and passed over.

    Raises:
        CheckpointError: there is none; never silently from zero.
    """
    steps = _steps(folder)
    if not steps:
        raise CheckpointError(
            f"No checkpoint in {folder}. The run has not written one yet; start it anew."
        )
    for checkpoint in reversed(steps):
        try:
            return checkpoint, load(checkpoint)
        except CheckpointError as error:
            print(f"warning: {error} Trying the one before it.", file=sys.stderr)
    raise CheckpointError(
        f"Every checkpoint in {folder} is damaged ({len(steps)} tried). Restore one from a copy, or"
        " start the run anew."
    )


def _steps(folder: Path) -> list[Path]:
    return sorted(folder.glob("step_*")) if folder.is_dir() else []


def _flatten(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors[path] = value.detach().cpu().contiguous().clone()
        return {_TENSOR: path}
    if isinstance(value, np.ndarray):
        return _flatten(torch.from_numpy(value), path, tensors)
    if isinstance(value, Mapping):
        items = [[k, _flatten(v, f"{path}/{k}", tensors)] for k, v in value.items()]
        if all(isinstance(k, str) for k in value):
            return dict(items)
        return {_ITEMS: items}  # optimisers count their parameters with integers
    if isinstance(value, list | tuple):
        return [_flatten(v, f"{path}/{i}", tensors) for i, v in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"A checkpoint cannot hold {type(value).__name__} (at {path!r}).")


def _restore(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if _TENSOR in value:
            return tensors[value[_TENSOR]]
        if _ITEMS in value:
            return {k: _restore(v, tensors) for k, v in value[_ITEMS]}
        return {k: _restore(v, tensors) for k, v in value.items()}
    if isinstance(value, list):
        return [_restore(v, tensors) for v in value]
    return value


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
