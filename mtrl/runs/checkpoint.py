"""Checkpoints: directories with checksums and without pickle, written atomically.

A checkpoint is a directory `step_<n>/`. It has one safetensors file per part of the state, `state.json`
for everything that is not a tensor, and `manifest.json` with the SHA-256 of each file. It is written
under a temporary name, synced, and renamed. So a crash at any moment leaves the previous checkpoint
intact. If a step is saved again, the older checkpoint is called `step_<n>.old` until the newer one is in
place.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from mtrl.errors import MtrlError
from mtrl.runs.tensor_tree import flatten, restore

# 2: stacked networks (decision D15); 3: the log keeps the offsets of its files, layers
# are modules, windows of success rates; 4: the schedule alone counts updates, `telemetry` and `resets`
# have keys of their own.
FORMAT = 4
_OLD = ".old"  # suffix of a checkpoint whose step is being saved again
_WRITING = ".writing"  # folder of a checkpoint that is being written
# Errors that reading a damaged file can raise.
_DAMAGE = (
    OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, SafetensorError,
)  # fmt: skip


class CheckpointError(MtrlError, RuntimeError):
    """A checkpoint is missing, damaged or of another format."""


class FormatError(CheckpointError):
    """A checkpoint was written by another version of mtrl."""


def save(folder: Path, step: int, state: Mapping[str, Any], *, keep: int = 2) -> Path:
    """Write a checkpoint, and delete all but the newest.

    Args:
        folder: folder of the run's checkpoints.
        step: the step; it names and orders checkpoints.
        state: nested dictionaries and lists of tensors and plain values. Each top-level key becomes a
            file.
        keep: number of checkpoints to keep, with the new one. Those of a later step are neither counted
            nor deleted: they were damaged, and skipped when the run was resumed.

    Returns:
        The checkpoint's directory.
    """
    return _write_checkpoint(folder, step, _snapshot(state), keep)


class Writer:
    """Writes checkpoints in a thread, one at a time and in order.

    The caller waits only for the copy of the state; the thread waits for the disk. The next call raises
    an error of the disk. :meth:`close` ends the thread.

    Args:
        folder: folder of the run's checkpoints.
        keep: number of checkpoints to keep.
    """

    def __init__(self, folder: Path, *, keep: int = 2) -> None:
        self.folder, self.keep = folder, keep
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._last: Future[Path] | None = None

    def submit(self, step: int, state: Mapping[str, Any]) -> None:
        """Wait for the last checkpoint, copy the state, and start to write it."""
        self.wait()
        snapshot = _snapshot(state)
        self._last = self._executor.submit(
            _write_checkpoint, self.folder, step, snapshot, self.keep
        )

    def wait(self) -> None:
        """Wait until the last checkpoint is on disk."""
        if self._last is not None:
            last, self._last = self._last, None
            last.result()

    def close(self) -> None:
        """Wait until the last checkpoint is on disk, and end the thread."""
        try:
            self.wait()
        finally:
            self._executor.shutdown()


_Snapshot = dict[str, tuple[Any, dict[str, Tensor]]]


def _snapshot(state: Mapping[str, Any]) -> _Snapshot:
    """Split each part into plain values and copied tensors."""
    parts: _Snapshot = {}
    for part, content in state.items():
        tensors: dict[str, Tensor] = {}
        # JSON copies the lists and dictionaries, which may change while the state is written.
        parts[part] = json.loads(json.dumps(flatten(content, "", tensors))), tensors
    return parts


def _write_checkpoint(folder: Path, step: int, parts: _Snapshot, keep: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / _WRITING  # always the same name, so a killed writer leaves no litter
    _remove(temporary)
    temporary.mkdir()
    _write(temporary / "state.json", {part: values for part, (values, _) in parts.items()})
    mode = (temporary / "state.json").stat().st_mode  # as the umask allows
    for part, (_, tensors) in parts.items():
        if tensors:
            path = temporary / f"{part}.safetensors"
            safetensors.torch.save_file(tensors, path)
            path.chmod(mode)  # the library makes files that only the owner can read
    files = {
        path.name: {"sha256": _digest(path), "bytes": path.stat().st_size}
        for path in sorted(temporary.iterdir())
    }
    _write(temporary / "manifest.json", {"format": FORMAT, "step": step, "files": files})
    for path in temporary.iterdir():
        _sync(path)
    _sync(temporary)
    return _put_in_place(temporary, folder / f"step_{step:012d}", keep)


def _put_in_place(temporary: Path, final: Path, keep: int) -> Path:
    """Give a complete checkpoint its final name, and delete those that are too old."""
    same_step = final.with_name(f"{final.name}{_OLD}")
    if final.exists():
        _remove(same_step)
        final.rename(same_step)
    temporary.rename(final)
    _sync(final.parent)
    _remove(same_step)
    before = [path for path in _steps(final.parent) if path.name < final.name]
    for old in before[: max(0, len(before) - (keep - 1))]:
        _remove(old)
    return final


def load(checkpoint: Path) -> dict[str, Any]:
    """Read and verify one checkpoint.

    Raises:
        FormatError: the checkpoint was written by another version of mtrl.
        CheckpointError: the checkpoint is damaged or incomplete.
    """
    try:
        manifest = _manifest(checkpoint)
        for name, expected in manifest["files"].items():
            if Path(name).name != name:
                raise CheckpointError(f"{checkpoint}: the manifest names {name!r}, not a file here.")
            path = checkpoint / name
            size = path.stat().st_size
            if size != expected["bytes"] or _digest(path) != expected["sha256"]:
                raise CheckpointError(
                    f"{path} is damaged: its checksum differs from the manifest's."
                )
        if "state.json" not in manifest["files"]:
            raise CheckpointError(f"{checkpoint} is damaged: the manifest does not list state.json.")
        values = json.loads((checkpoint / "state.json").read_text())
        state = {}
        for part, content in values.items():
            file = f"{part}.safetensors"
            tensors = (
                safetensors.torch.load_file(checkpoint / file) if file in manifest["files"] else {}
            )
            state[part] = restore(content, tensors)
        return state
    except _DAMAGE as error:
        raise CheckpointError(f"{checkpoint} is damaged: {error!r}") from error


def load_latest(folder: Path, *, set_aside: bool = False) -> tuple[Path, dict[str, Any]]:
    """Read the newest valid checkpoint; report damaged ones on stderr and skip them.

    Args:
        folder: folder of the run's checkpoints.
        set_aside: rename damaged checkpoints to `damaged_step_<n>` once a valid one is found, so that
            they do not count as the newest again. For a process that continues the run.

    Raises:
        FormatError: another version of mtrl wrote the newest checkpoint that is not damaged.
        CheckpointError: there is no valid checkpoint; a run must not silently start from zero.
    """
    steps = _steps(folder)
    if not steps:
        raise CheckpointError(
            f"No checkpoint in {folder}. The run has not written one yet; start it anew."
        )
    damaged: list[Path] = []
    for checkpoint in reversed(steps):
        try:
            state = load(checkpoint)
        except FormatError:
            raise
        except CheckpointError as error:
            print(f"warning: {error} Trying the one before it.", file=sys.stderr)
            damaged.append(checkpoint)
            continue
        for path in damaged if set_aside else []:
            aside = path.with_name(f"damaged_{path.name}")
            _remove(aside)
            path.rename(aside)
            print(f"warning: The damaged checkpoint is now called {aside}.", file=sys.stderr)
        return checkpoint, state
    raise CheckpointError(
        f"Every checkpoint in {folder} is damaged ({len(steps)} tried). Restore one from a copy, or"
        " start the run anew."
    )


def check_format(folder: Path) -> None:
    """Refuse the newest checkpoint in a folder if it is of another format; read nothing else of it.

    Raises:
        FormatError: another version of mtrl wrote it.
    """
    for newest in _steps(folder)[-1:]:
        with contextlib.suppress(*_DAMAGE):  # `load_latest` reports damage
            _manifest(newest)


def _manifest(checkpoint: Path) -> dict[str, Any]:
    manifest = json.loads((checkpoint / "manifest.json").read_text())
    if manifest["format"] != FORMAT:
        raise FormatError(
            f"{checkpoint} should have format {FORMAT}, which this version of mtrl reads. Found format"
            f" {manifest['format']}, of another version. Resume and evaluate the run with that version,"
            " or start the run anew."
        )
    return manifest


def _steps(folder: Path) -> list[Path]:
    """Checkpoints in the order of steps; `step_<n>.old` comes before `step_<n>`."""
    found = folder.glob("step_*") if folder.is_dir() else []
    return sorted(found, key=lambda path: (path.stem, path.suffix != _OLD))


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


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
