"""An installed copy: the wheel holds the presets and trains from an empty folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest
from wheel import ROOT, build_wheel

from mtrl.extras import DISTRIBUTION


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and nothing else of this project."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
               "--no-deps", "--target", str(folder), str(wheel)]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, text=True)
    return folder


def run(site: Path, cwd: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(site)}
    return subprocess.run(
        [sys.executable, *command], cwd=cwd, env=environment, capture_output=True, text=True
    )


def test_the_wheel_holds_package_and_presets_only(wheel: Path) -> None:
    names = ZipFile(wheel).namelist()
    presets = {f"mtrl/configs/{p.relative_to(ROOT / 'configs')}" for p in
               (ROOT / "configs").rglob("*.yaml")}  # fmt: skip
    assert presets and presets <= set(names)
    assert {"mtrl/py.typed", "mtrl/DECISIONS.md", "mtrl/balancing/README.md"} <= set(names)
    assert {name.split("/")[0] for name in names} == {
        "mtrl",
        f"{wheel.name.split('-py3')[0]}.dist-info",
    }


def test_core_and_extras(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        (name,) = [n for n in archive.namelist() if n.endswith("METADATA")]
        metadata = Parser().parsestr(archive.read(name).decode())
    assert metadata["Name"] == DISTRIBUTION
    required = [r for r in metadata.get_all("Requires-Dist", []) if "extra ==" not in r]
    core = {re.split(r"[<>=]", requirement)[0] for requirement in required}
    assert core == {"annotated-types", "numpy", "pydantic", "safetensors", "scipy", "torch"}
    assert set(metadata.get_all("Provides-Extra", [])) >= {"rl", "ray", "plot", "supervised", "all"}


def test_an_installed_copy_trains_from_an_empty_folder(site: Path, tmp_path: Path) -> None:
    where = run(site, tmp_path, "-c", "import mtrl; print(mtrl.__file__)")
    assert where.stdout.startswith(str(site)), where.stderr

    shown = run(site, tmp_path, "-m", "mtrl", "config", "show", "-c", "mt10/quick", "--json")
    assert shown.returncode == 0, shown.stderr
    values = json.loads(shown.stdout)
    assert values["env.tasks"]["value"] == "mt10"
    assert values["sac.n_step"]["origin"] == str(site / "mtrl/configs/mt10/quick.yaml")

    steps = ["schedule.total_env_steps=480", "schedule.warmup_env_steps=240"]
    small = ["evaluation.goals=2", "evaluation.interval_env_steps=0", "run.tensorboard=false"]
    trained = run(site, tmp_path, "-m", "mtrl", "train", "-c", "fake", *steps, *small)
    assert trained.returncode == 0, trained.stderr
    (directory,) = (tmp_path / "runs").iterdir()
    assert json.loads((directory / "status.json").read_text())["state"] == "done"
    assert DISTRIBUTION in json.loads((directory / "manifest.json").read_text())["versions"]
