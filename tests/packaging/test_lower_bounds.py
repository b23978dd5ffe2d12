"""The lowest versions that pyproject.toml allows work: `scripts/test -m install`.

It downloads several gigabytes (an old torch brings CUDA packages), so the default suite leaves it out.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest
from wheel import ROOT, build_wheel

CHECKS = ["tests/property/test_every_method.py", "tests/integration/test_fake_training.py",
          "tests/unit/envs", "tests/unit/runs", "tests/unit/test_config.py"]  # fmt: skip


def lowest(requirements: list[str]) -> list[str]:
    """`name==version` of each requirement with a lower bound."""
    found = [re.match(r"([\w.-]+)(?:>=|==)([\d.]+)", r) for r in requirements]
    return [f"{match[1]}=={match[2].removesuffix('.')}" for match in found if match]


@pytest.mark.install
@pytest.mark.timeout(3600)
def test_the_lowest_versions_work(tmp_path: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    everything = [*project["dependencies"], *(r for name in ("rl", "ray", "supervised", "plot")
                  for r in extras[name])]  # fmt: skip
    constraints = tmp_path / "lowest.txt"
    constraints.write_text("\n".join(lowest(everything)))

    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"
    install = [str(python), "-m", "pip", "install", "--quiet", "--constraint", str(constraints)]
    tools = ["pytest>=8", "pytest-timeout", "hypothesis"]
    subprocess.run([*install, f"{build_wheel(tmp_path)}[all]", *tools], check=True)
    # The copy that the wheel was built from, without the package, so that the installed one is used.
    source = tmp_path / "source"
    shutil.rmtree(source / "mtrl")
    command = [str(python), "-m", "pytest", "-q", *CHECKS]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    run = subprocess.run(command, cwd=source, env=environment)
    assert run.returncode == 0, f"{sys.version}: see the output above"
