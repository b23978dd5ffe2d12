"""`mtrl doctor`: what could be wrong with this machine, each finding with its repair."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

_VERIFIED = {"metaworld": "3.1.1", "mujoco": "3.3.0"}
_MIN_SHM_MB = 256


@dataclass(frozen=True)
class Finding:
    """One fact about the machine.

    Attributes:
        level: `ok`, `warning` (training works), or `error` (it does not).
        subject: what was looked at.
        text: what was found.
        repair: the one command, or step, that mends it.
    """

    level: Literal["ok", "warning", "error"]
    subject: str
    text: str
    repair: str = ""


def examine() -> list[Finding]:
    """Look at everything; a check that itself fails is an error, never an exception."""
    checks = (_python, _torch, _metaworld, _seeds, _rendering, _shm, _ray)
    return [_safely(check) for check in checks]


def _safely(check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except Exception as error:
        subject = check.__name__.strip("_")
        repair = "pip install -c constraints.txt -e '.[plot]'"
        return Finding("error", subject, f"the check failed: {error!r}", repair)


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
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
    import metaworld  # noqa: F401 (imports with its MuJoCo, or says why not)

    found = {package: importlib.metadata.version(package) for package in _VERIFIED}
    text = ", ".join(f"{package} {version}" for package, version in found.items())
    if found != _VERIFIED:
        wanted = " ".join(f"{package}=={version}" for package, version in _VERIFIED.items())
        return Finding(
            "warning",
            "metaworld",
            f"{text}: physics differs between versions, so results will not compare",
            f"pip install {wanted}",
        )
    return Finding("ok", "metaworld", text)


def _seeds() -> Finding:
    """Two environments with the same seed agree, whatever NumPy's global generator does."""
    import numpy as np

    from mtrl.envs import make

    trajectories = []
    for noise in (1, 2):
        np.random.seed(noise)  # the trap that this looks for
        env = make("reach-v3", num_goals=2, seed=7)
        first, _ = env.reset()
        action = np.full(4, 0.5, np.float32)
        trajectories.append(np.stack([first, *[env.step(action)[0] for _ in range(3)]]))
        env.close()
    if not np.array_equal(*trajectories):
        repair = "pip install metaworld==3.1.1 mujoco==3.3.0"
        return Finding("error", "seeds", "the same seed gives different episodes", repair)
    return Finding("ok", "seeds", "the same seed gives the same episode")


def _rendering() -> Finding:
    backend = os.environ.get("MUJOCO_GL", "")
    if backend in ("egl", "osmesa"):
        return Finding("ok", "rendering", f"MUJOCO_GL={backend}")
    if os.environ.get("DISPLAY"):
        return Finding("ok", "rendering", "a display is there")
    return Finding(
        "warning",
        "rendering",
        "no display and MUJOCO_GL is not set: training works, videos do not",
        "apt-get install libegl1 && export MUJOCO_GL=egl",
    )


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
    from mtrl.distributed.session import ping_ray

    cpus, seconds = ping_ray()
    return Finding("ok", "ray", f"an embedded Ray with {cpus:g} CPUs answered in {seconds:.1f} s")
