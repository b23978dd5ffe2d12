"""`mtrl doctor`: every finding, each with its condition brought about."""

from __future__ import annotations

import importlib.metadata
import shutil
import sys
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mtrl import doctor
from mtrl.cli import main
from mtrl.distributed import cluster
from mtrl.distributed.cluster import ResourceError
from mtrl.doctor import Finding, examine

Patch = pytest.MonkeyPatch
Usage = namedtuple("Usage", "total used free")


def absent(patch: Patch, package: str) -> None:
    patch.setitem(sys.modules, package, None)


def free_mb(patch: Patch, megabytes: float, where: str) -> None:
    real = shutil.disk_usage

    def usage(path: str) -> Usage:
        return Usage(1, 1, int(megabytes * 2**20)) if path == where else Usage(*real(path))

    patch.setattr(shutil, "disk_usage", usage)


def no_shm(patch: Patch) -> None:
    def usage(path: str) -> Usage:
        raise FileNotFoundError(2, "No such file or directory")

    patch.setattr(shutil, "disk_usage", usage)


def version(patch: Patch, *found: int) -> None:
    patch.setattr(sys, "version_info", (*found, "final", 0))


def raising(error: Exception) -> Callable[..., object]:
    def fail(*_: object, **__: object) -> object:
        raise error

    return fail


def random_env(patch: Patch) -> None:
    """An environment that draws from NumPy's global generator."""
    import numpy as np

    from mtrl.envs import factory

    class Env:
        def reset(self) -> tuple:
            return np.random.uniform(size=3), {}

        def step(self, action: object) -> tuple:
            return np.zeros(3), 0.0, False, False, {}

        def close(self) -> None:
            pass

    patch.setattr(factory, "make", lambda *_, **__: Env())


def other_simulator(patch: Patch) -> None:
    real = importlib.metadata.version
    patch.setattr(importlib.metadata, "version",
                  lambda name: "9.9" if name == "mujoco" else real(name))  # fmt: skip


def gpu_driver_alone(patch: Patch) -> None:
    patch.setattr(torch.cuda, "is_available", lambda: False)
    patch.setattr(shutil, "which", lambda name: "/usr/bin/nvidia-smi")


def gpu(patch: Patch) -> None:
    patch.setattr(torch.cuda, "is_available", lambda: True)
    patch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA T4")


def runs_is_a_file(patch: Patch) -> None:
    Path("runs").write_text("")


CASES = [
    ("_python", lambda p: version(p, 3, 10, 4), "error", "3.10.4 is too old", "install Python"),
    ("_python", lambda p: version(p, 3, 99, 0), "warning", "newer than", "install Python"),
    ("_python", lambda p: version(p, 3, 12, 0), "ok", "3.12.0", ""),
    ("_torch", gpu, "ok", "NVIDIA T4", ""),
    ("_torch", gpu_driver_alone, "warning", "sees no GPU", "pip install torch"),
    ("_torch", lambda p: absent(p, "torch"), "error", "cannot be imported", "pip install torch"),
    ("_metaworld", other_simulator, "warning", "mujoco 9.9", "pip install metaworld=="),
    ("_metaworld", lambda p: absent(p, "metaworld"), "error", "cannot", "pip install metaworld=="),
    ("_metaworld", lambda p: None, "ok", "metaworld", ""),
    ("_seeds", random_env, "error", "different episodes", "pip install metaworld=="),
    ("_seeds", lambda p: None, "ok", "the same episode", ""),
    ("_presets", lambda p: p.setattr(doctor, "PRESETS", Path("none")), "error", "none in", "again"),
    ("_presets", lambda p: None, "ok", "configs", ""),
    ("_runs_folder", runs_is_a_file, "error", "cannot write", "run.directory"),
    ("_runs_folder", lambda p: None, "ok", "can be written to", ""),
    ("_disk", lambda p: free_mb(p, 100, "."), "warning", "100 MB free", "run.directory"),
    ("_disk", lambda p: free_mb(p, 5000, "."), "ok", "5 GB free", ""),
    ("_shm", lambda p: free_mb(p, 64, "/dev/shm"), "warning", "64 MB free", "--shm-size"),
    ("_shm", no_shm, "warning", "0 MB free", "--shm-size"),
    ("_shm", lambda p: free_mb(p, 900, "/dev/shm"), "ok", "900 MB free", ""),
    ("_ray", lambda p: p.setattr(cluster, "ping_ray", lambda: (4.0, 1.5)), "ok", "4 CPUs", ""),
    ("_ray", lambda p: absent(p, "ray"), "error", "cannot be imported", "pip install ray"),
    ("_ray", lambda p: p.setattr(cluster, "ping_ray", raising(ResourceError("no room"))),
     "error", "no room", "see the message"),
    ("_ray", lambda p: p.setattr(cluster, "ping_ray", raising(KeyError("x"))),
     "error", "KeyError: 'x' (test_doctor.py, line", "report it"),
]  # fmt: skip


@pytest.mark.parametrize(("check", "arrange", "level", "text", "repair"), CASES)
def test_each_finding(
    check: str,
    arrange: Callable[[Patch], None],
    level: str,
    text: str,
    repair: str,
    monkeypatch: Patch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    arrange(monkeypatch)
    finding = doctor._safely(getattr(doctor, check))
    monkeypatch.undo()
    assert finding.level == level, finding
    assert text in finding.text
    assert repair in finding.repair
    assert bool(finding.repair) == (level != "ok"), "what is wrong has a repair, what is well none"


def test_every_check_is_made_and_has_a_case(monkeypatch: Patch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cluster, "ping_ray", lambda: (4.0, 1.5))
    checks = {name for name, _, _, _, _ in CASES}
    assert len(examine()) == len(checks)
    assert {f.subject.split()[0] for f in examine()} >= {name.strip("_").split("_")[0] for name in
            checks if name not in ("_shm",)}  # fmt: skip
    assert not any("video" in f.text or f.subject == "rendering" for f in examine())


@pytest.mark.parametrize(("level", "code"), [("ok", 0), ("warning", 0), ("error", 3)])
def test_the_command_ends_with_3_on_an_error(
    level: str, code: int, monkeypatch: Patch, capsys: pytest.CaptureFixture[str]
) -> None:
    finding = Finding(level, "thing", "as it is", "mend it")  # type: ignore[arg-type]
    monkeypatch.setattr(doctor, "examine", lambda: [Finding("ok", "other", "well"), finding])
    assert main(["doctor"]) == code
    shown = capsys.readouterr().out
    assert "thing: as it is" in shown
    assert "repair: mend it" in shown
    assert ("FAIL" in shown) == (level == "error")
