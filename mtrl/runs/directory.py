"""Run directories: one folder per run, with a lock, a status and a manifest."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mtrl.errors import USAGE, MtrlError
from mtrl.extras import DISTRIBUTION
from mtrl.runs.provenance import package_commit, package_versions

PACKAGES = ("torch", "numpy", "scipy", "gymnasium", "metaworld", "mujoco", "ray", DISTRIBUTION)
PROVENANCE = ("created", "python", "platform", "cpus", "versions", "git")
_STALE_AFTER_S = 120.0  # a process on another host with an older heartbeat counts as dead


class RunDirectoryError(MtrlError, RuntimeError):
    """A run directory is missing, in use, or not a run directory."""

    exit_code = USAGE


class RunDirectory:
    """A run directory `<base>/<name>-s<seed>-<utc>/` and its files.

    The files are `config.yaml` (resolved), `manifest.json` (versions, command, host), `metrics.jsonl`
    (metrics that a seed reproduces), `timing.jsonl` (those that it does not), `checkpoints/`, `eval/`,
    `status.json` and `lock`. One process holds the lock. The operating system releases it when that
    process ends, even if it is killed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: Any = None
        self._status: dict[str, Any] = {}
        self._writing_status = threading.Lock()

    @classmethod
    def create(cls, base: Path, name: str, seed: int, config: str) -> RunDirectory:
        """Make a new directory; two runs in the same second get different names.

        Args:
            base: folder of all runs.
            name: first part of the directory's name.
            seed: the run's seed.
            config: text of `config.yaml`.

        Raises:
            RunDirectoryError: no directory can be made there.
        """
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        for attempt in range(100):
            suffix = f"-{attempt}" if attempt else ""
            path = base / f"{name}-s{seed}-{stamp}{suffix}"
            try:
                base.mkdir(parents=True, exist_ok=True)
                path.mkdir()
            except FileExistsError:
                if base.is_dir():
                    continue
                raise RunDirectoryError(
                    f"`run.directory` is {base}, which is a file. Name a folder."
                ) from None
            except OSError as error:
                raise RunDirectoryError(
                    f"Cannot make a run directory in {base}: {error.strerror}. Set `run.directory` to"
                    " a folder that you may write to."
                ) from error
            run = cls(path)
            run.acquire()
            (path / "config.yaml").write_text(config)
            run._write_json("manifest.json", describe_process())
            return run
        raise RunDirectoryError(f"Could not make a new run directory in {base}.")

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """Open an existing run for reading.

        Raises:
            RunDirectoryError: there is no run at that path.
        """
        if not (path / "config.yaml").is_file():
            raise RunDirectoryError(
                f"{path} is not a run directory (no config.yaml in it). `mtrl runs` lists runs."
            )
        return cls(path)

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is something to resume from, valid or damaged."""
        return any(self.checkpoints.glob("step_*"))

    def acquire(self) -> None:
        """Take the lock for writing.

        Raises:
            RunDirectoryError: another process holds it.
        """
        handle = (self.path / "lock").open("a+")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            handle.seek(0)
            owner = handle.read().strip() or "unknown"
            handle.close()
            raise RunDirectoryError(
                f"{self.path} is in use by another process (pid {owner}). Wait for it, or stop it."
            ) from error
        handle.seek(0)
        handle.truncate()
        handle.write(str(os.getpid()))
        handle.flush()
        self._lock = handle

    def release(self) -> None:
        """Release the lock."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def write_status(self, state: str, **facts: Any) -> None:
        """Record the state (`running`, `done`, `failed` or `interrupted`), facts, and a heartbeat."""
        with self._writing_status:
            own = {"state": state, "pid": os.getpid(), "host": platform.node()}
            self._status = {**own, **facts}
            self._write_json("status.json", {**self._status, "heartbeat": time.time()})

    def beat(self) -> None:
        """Write the last status again with a new heartbeat."""
        with self._writing_status:
            self._write_json("status.json", {**self._status, "heartbeat": time.time()})

    def status(self) -> dict[str, Any]:
        """The last status; `state` is `dead` if the run was running and its process is gone.

        A run of this host is alive if its process exists and holds the lock. For a run of another host
        neither can be seen; it counts as alive while its heartbeat is recent.
        """
        try:
            status = json.loads((self.path / "status.json").read_text())
        except (OSError, ValueError):
            return {"state": "unknown"}
        if status["state"] == "running":
            if status.get("host", platform.node()) == platform.node():
                alive = is_locked(self.path / "lock") and _exists(status["pid"])
            else:
                alive = time.time() - status["heartbeat"] < _STALE_AFTER_S
            if not alive:
                status["state"] = "dead"
        return status

    def write_json(self, name: str, content: Any) -> Path:
        """Write a JSON file of the run atomically; return its path."""
        return self._write_json(name, content)

    def config(self) -> dict[str, Any]:
        """The content of `config.yaml`."""
        from ruamel.yaml import YAML  # an extra brings it

        return YAML(typ="safe", pure=True).load((self.path / "config.yaml").read_text())

    def provenance(self) -> dict[str, Any]:
        """Date, versions, machine and commit of the run, to be kept with its results."""
        manifest = json.loads((self.path / "manifest.json").read_text())
        return {key: manifest[key] for key in PROVENANCE}

    def _write_json(self, name: str, content: Any) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.write_text(json.dumps(content, indent=1))
        temporary.replace(path)
        return path


def is_locked(path: Path) -> bool:
    """Whether a process holds a lock on a file; not if the file is missing."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
    except BlockingIOError:
        return True
    except OSError:
        return False


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # the process belongs to another user
        return True
    return True


def list_runs(base: Path) -> list[RunDirectory]:
    """The runs below a folder, oldest first."""
    if not base.is_dir():
        return []
    found = [RunDirectory(path.parent) for path in base.glob("*/config.yaml")]
    return sorted(found, key=lambda run: (run.path / "config.yaml").stat().st_mtime)


def describe_process() -> dict[str, Any]:
    """Date, command, versions, machine and commit of this process."""
    return {
        "created": datetime.now(UTC).isoformat(),
        "command": sys.argv,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "host": platform.node(),
        "versions": package_versions(PACKAGES),
        "git": package_commit(),
    }
