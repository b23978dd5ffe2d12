"""What works with the core alone, and what a missing extra says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mtrl.extras import DISTRIBUTION

# Makes the packages named by the first argument impossible to import.
WITHOUT = """
import sys
absent = sys.argv[1].split(",")
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
"""
OPTIONAL = "gymnasium,matplotlib,metaworld,mujoco,ray,rich,ruamel,sklearn,tensorboard"


def without(packages: str, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT + code, packages, *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_core_serves_the_balancing_package() -> None:
    code = """
import torch
from mtrl.balancing import METHODS, Signals, build
for name in METHODS:
    options = {"weights": [1.0, 2.0]} if name == "fixed" else {}
    method = build(name, 2, 3, **options)
    signals = Signals(jacobian=torch.eye(2, 3), losses=torch.ones(2), performance=torch.ones(2))
    assert method.aggregate(signals).shape == (3,)
print(len(METHODS))
"""
    run = without(OPTIONAL, code)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) >= 28


@pytest.mark.parametrize(
    ("absent", "arguments", "extra"),
    [
        (OPTIONAL, ["train", "-c", "fake"], "ray"),
        ("gymnasium", ["train", "-c", "fake"], "ray"),
        (OPTIONAL, ["supervised", "-c", "supervised/digits"], "supervised"),
        ("sklearn", ["supervised", "-c", "supervised/digits"], "supervised"),
        ("mujoco", ["verify-env", "--tasks", "reach-v3", "--steps", "1"], "rl"),
        ("mujoco", ["bench", "env", "--tasks", "reach-v3", "--blocks", "1"], "ray"),
        ("matplotlib", ["bench", "omega", "--draws", "1", "--picture", "x.png"], "plot"),
    ],
)
def test_a_missing_extra_is_named(
    absent: str, arguments: list[str], extra: str, tmp_path: Path
) -> None:
    if arguments[0] in ("train", "supervised"):
        arguments = [*arguments, f"run.directory={tmp_path}"]
    run = without(absent, "from mtrl.cli import main\nsys.exit(main(sys.argv[2:]))", *arguments)
    assert f"pip install '{DISTRIBUTION}[{extra}]'" in run.stderr, run.stderr
    assert "Traceback" not in run.stderr
    assert run.returncode in (2, 3)


def test_supervised_training_needs_no_package_of_rl(tmp_path: Path) -> None:
    """The extra `supervised` does not bring them."""
    arguments = ["supervised", "-c", "supervised/digits", "problem_options.pairs=64",
                 "recipe.batch_size=32", "recipe.epochs=1", "run.tensorboard=false"]  # fmt: skip
    code = "from mtrl.cli import main\nsys.exit(main(sys.argv[2:]))"
    packages = "gymnasium,metaworld,mujoco,ray"
    run = without(packages, code, *arguments, f"run.directory={tmp_path}")
    assert run.returncode == 0, run.stderr
    assert list(tmp_path.glob("*/eval/final.json"))


def test_another_missing_module_stays_a_defect() -> None:
    run = without("scipy", "from mtrl.cli import main\nsys.exit(main(['methods']))")
    assert run.returncode == 1
    assert "Traceback" in run.stderr
