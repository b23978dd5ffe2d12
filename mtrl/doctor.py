"""`mtrl doctor`: check this machine, and name the repair of each problem."""

from __future__ import annotations

import importlib.metadata
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mtrl.config_files import PRESETS
from mtrl.errors import MtrlError, describe

_VERIFIED = {"metaworld": "3.1.1", "mujoco": "3.3.0"}
_PYTHONS = ((3, 11), (3, 13))  # the first and the last version that we test
_MIN_SHM_MB = 256
_MIN_DISK_MB = 1024  # a run with a few checkpoints, each with its replay buffer
_SIMULATOR = " ".join(f"{package}=={version}" for package, version in _VERIFIED.items())


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        level: `ok`, `warning` (training works), or `error` (training does not work).
        subject: the part of the machine that was checked.
        text: the finding.
        repair: the command or step that repairs it.
    """

    level: Literal["ok", "warning", "error"]
    subject: str
    text: str
    repair: str = ""

    def __str__(self) -> str:
        """A line, and the repair below it."""
        mark = {"ok": "ok  ", "warning": "warn", "error": "FAIL"}[self.level]
        line = f"{mark}  {self.subject}: {self.text}"
        return f"{line}\n      repair: {self.repair}" if self.repair else line


def examine() -> list[Finding]:
    """Run all checks. A check that fails itself gives an `error`, never an exception."""
    checks = (_python, _torch, _metaworld, _seeds, _presets, _runs_folder, _disk, _shm, _ray)
    return [_safely(check) for check in checks]


def _safely(check: Callable[[], Finding]) -> Finding:
    subject = check.__name__.strip("_").replace("_", " ")
    try:
        return check()
    except ImportError as error:
        package = (error.name or "").partition(".")[0]
        wanted = _SIMULATOR if package in _VERIFIED else package
        repair = f"pip install {wanted}" if package else "install what the message names"
        return Finding("error", subject, f"cannot be imported: {error}", repair)
    except MtrlError as error:
        return Finding("error", subject, str(error), "see the message")
    except Exception as error:
        repair = f"this is unexpected: report it with the lines above, from {sys.executable}"
        return Finding("error", subject, f"the check failed: {describe(error)}", repair)


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    first, last = (".".join(map(str, version)) for version in _PYTHONS)
    if sys.version_info[:2] < _PYTHONS[0]:
        return Finding(
            "error", "python", f"{found} is too old", f"install Python {first} to {last}"
        )
    if sys.version_info[:2] > _PYTHONS[1]:
        text = f"{found} is newer than the last that is tested, {last}"
        return Finding("warning", "python", text, f"install Python {first} to {last}")
    return Finding("ok", "python", found)


def _torch() -> Finding:
    import torch

    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU build"
    if torch.cuda.is_available():
        return Finding("ok", "torch", f"{torch.__version__}, GPU {torch.cuda.get_device_name()}")
    if shutil.which("nvidia-smi"):
        repair = "pip install torch --index-url https://download.pytorch.org/whl/cu128"
        return Finding(
            "warning",
            "torch",
            f"{torch.__version__} ({build}) sees no GPU, though a driver is here",
            repair,
        )
    return Finding(
        "ok", "torch", f"{torch.__version__} ({build}), no GPU: the learner uses the CPU"
    )


def _metaworld() -> Finding:
    import metaworld  # noqa: F401 (the import itself is the check)

    found = {package: importlib.metadata.version(package) for package in _VERIFIED}
    text = ", ".join(f"{package} {version}" for package, version in found.items())
    if found != _VERIFIED:
        return Finding(
            "warning",
            "metaworld",
            f"{text}: physics differs between versions, so results will not compare",
            f"pip install {_SIMULATOR}",
        )
    return Finding("ok", "metaworld", text)


def _seeds() -> Finding:
    """Two environments with the same seed agree, for every state of NumPy's global generator."""
    import numpy as np

    from mtrl.envs import make

    trajectories = []
    for noise in (1, 2):
        np.random.seed(noise)  # must not change the trajectory
        env = make("reach-v3", num_goals=2, seed=7)
        first, _ = env.reset()
        action = np.full(4, 0.5, np.float32)
        trajectories.append(np.stack([first, *[env.step(action)[0] for _ in range(3)]]))
        env.close()
    if not np.array_equal(*trajectories):
        text = "the same seed gives different episodes"
        return Finding("error", "seeds", text, f"pip install {_SIMULATOR}")
    return Finding("ok", "seeds", "the same seed gives the same episode")


def _presets() -> Finding:
    found = len(list(PRESETS.rglob("*.yaml")))
    if not found:
        text = f"none in {PRESETS}: `-c mt10/quick` finds nothing"
        return Finding("error", "presets", text, "install mtrl again; its presets are missing")
    return Finding("ok", "presets", f"{found} in {PRESETS}")


def _runs_folder() -> Finding:
    """The default folder of runs can be written to, or made."""
    folder = Path("runs") if Path("runs").exists() else Path()
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        text = f"cannot write to {folder.absolute()}: {error.strerror}"
        repair = "set run.directory to a folder that you may write to"
        return Finding("error", "runs folder", text, repair)
    return Finding("ok", "runs folder", f"{folder.absolute()} can be written to")


def _disk() -> Finding:
    free = shutil.disk_usage(".").free / 2**20
    if free < _MIN_DISK_MB:
        text = f"{free:.0f} MB free here: a run needs about 300 MB for its checkpoints"
        return Finding("warning", "disk", text, "free space, or set run.directory to another disk")
    return Finding("ok", "disk", f"{free / 1024:.0f} GB free here")


def _shm() -> Finding:
    try:
        free = shutil.disk_usage("/dev/shm").free / 2**20
    except OSError:
        free = 0.0
    if free < _MIN_SHM_MB:
        return Finding(
            "warning",
            "shared memory",
            f"/dev/shm has {free:.0f} MB free: Ray's object store falls back to disk",
            "docker run --shm-size=1g ...",
        )
    return Finding("ok", "shared memory", f"/dev/shm has {free:.0f} MB free")


def _ray() -> Finding:
    from mtrl.distributed.cluster import ping_ray

    cpus, seconds = ping_ray()
    return Finding("ok", "ray", f"an embedded Ray with {cpus:g} CPUs answered in {seconds:.1f} s")
