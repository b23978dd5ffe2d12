"""The house: what may import what, and that options, files and presets keep its rules."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import os
from pathlib import Path

import pytest

import mtrl
from mtrl.balancing import METHODS, method_options
from mtrl.config import PRESETS, resolve
from mtrl.jobs import config as job
from mtrl.jobs.rl import check

ROOT = Path(mtrl.__file__).parent
# Any room may import these; they import nothing of mtrl but one another.
LEAVES = {"errors", "extras", "plugins"}
# Arrows point downwards only. `cli`, `config` and `doctor` are the roof.
MAY_IMPORT = {
    "balancing": set(),
    "networks": set(),
    "envs": set(),
    "runs": set(),
    "rl": {"balancing", "networks", "envs", "runs"},
    "distributed": {"rl", "balancing", "networks", "envs", "runs"},
    "supervised": {"balancing", "networks", "runs"},
    "jobs": {"config", "distributed", "supervised", "rl", "balancing", "networks", "envs", "runs"},
    "experiments": {"runs"},
    "report": {"runs", "balancing"},
    "config": set(),
    "doctor": {"config", "distributed", "envs"},
    "cli": {
        "arguments",
        "config",
        "doctor",
        "jobs",
        "experiments",
        "report",
        "runs",
        "envs",
        "balancing",
    },
    "__main__": {"cli"},
    "__init__": {"rl"},
}
ONLY_IN = {
    "ray": {"distributed"},
    "metaworld": {"envs", "doctor"},
    "mujoco": {"envs"},
    "argparse": {"arguments", "cli"},
    "matplotlib": {"report", "supervised"},
}
FILES = sorted(ROOT.rglob("*.py"))


def imports(path: Path) -> set[str]:
    """All modules that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(str(node.module))
            if node.module == "mtrl":
                found |= {f"mtrl.{alias.name}" for alias in node.names}
    return found


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def violations(path: Path, modules: set[str]) -> list[str]:
    here, wrong = room(path), []
    for module in modules:
        parts = module.split(".")
        if parts[0] == "mtrl" and len(parts) > 1 and parts[1] != "__version__":
            if parts[1] not in {here, *MAY_IMPORT.get(here, set()), *LEAVES}:
                wrong.append(f"{path.name} imports {module}")
        elif parts[0] in ONLY_IN and here not in ONLY_IN[parts[0]]:
            wrong.append(f"{path.name} imports {module}")
    return wrong


def test_imports_point_downwards() -> None:
    assert [wrong for path in FILES for wrong in violations(path, imports(path))] == []


def test_the_import_check_can_fail() -> None:
    assert violations(ROOT / "rl" / "x.py", {"ray"})
    assert violations(ROOT / "balancing" / "x.py", {"mtrl.rl.learning.sac"})
    assert violations(ROOT / "supervised" / "x.py", {"mtrl.rl"})
    assert not violations(ROOT / "distributed" / "x.py", {"ray", "mtrl.rl.learning.sac"})


def test_every_error_carries_an_exit_code() -> None:
    """The command prints a traceback for everything else."""
    from mtrl.errors import MtrlError

    found = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef) and node.name.endswith("Error"):
                parts = path.relative_to(ROOT.parent).with_suffix("").parts
                kind = getattr(importlib.import_module(".".join(parts)), node.name)
                assert issubclass(kind, MtrlError), f"{path}: {node.name}"
                found.append(node.name)
    assert len(found) >= 9


def test_there_is_one_did_you_mean() -> None:
    assert [path for path in FILES if "difflib" in imports(path)] == [ROOT / "errors.py"]


def test_files_stay_small() -> None:
    long = {p.name: n for p in FILES if (n := len(p.read_text().splitlines())) > 400}
    assert not long


def test_no_trainer_names_a_method() -> None:

    for folder in ("rl", "distributed"):
        for path in (ROOT / folder).glob("*.py"):
            names = {
                node.value
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Constant) and isinstance(node.value, str)
            }
            # `ls` is the documented stand-in where a method cannot serve the actor.
            assert not names & (set(METHODS) - {"ls"}), path


def test_the_supervised_trainer_names_no_method_and_no_benchmark() -> None:
    from mtrl.supervised.problems import PROBLEMS

    for name in ("trainer", "learner", "metrics", "problem", "single_task"):
        tree = ast.parse((ROOT / "supervised" / f"{name}.py").read_text())
        words = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)}
        assert not words & {*METHODS, *PROBLEMS}, name
        assert not any(
            "problems" in module for module in imports(ROOT / "supervised" / f"{name}.py")
        )


SUPERVISED = sorted(PRESETS.glob("supervised/**/*.yaml"))


@pytest.mark.parametrize("preset", SUPERVISED, ids=lambda p: p.stem)
def test_every_supervised_preset_can_be_expanded(preset: Path) -> None:
    from mtrl.config import flatten
    from mtrl.jobs import supervised as launch
    from mtrl.supervised.config import SupervisedConfig

    resolved = resolve(SupervisedConfig, [preset])
    points = launch.grid_points(dict(flatten(resolved.config.grid)))
    if preset.stem == "multimnist":  # its files are not here
        with pytest.raises(ValueError, match="data_root"):
            launch.expand(resolved.config)
        return
    for values in points:
        changes = [f"{key}={value}" for key, value in values.items()]
        assert launch.expand(resolve(SupervisedConfig, [preset], changes).config)


@pytest.mark.parametrize("preset", sorted(PRESETS.glob("mt10/*.yaml")), ids=lambda p: p.stem)
@pytest.mark.parametrize("method", [name for name in METHODS if name != "fixed"])
def test_every_method_lies_over_every_preset(preset: Path, method: str) -> None:
    check(resolve(job.TrainConfig, [preset], [f"method={method}"]).config)


@pytest.mark.parametrize("preset", sorted(PRESETS.glob("method/*.yaml")), ids=lambda p: p.stem)
def test_a_method_s_preset_says_more_than_its_name(preset: Path) -> None:
    quick = PRESETS / "mt10" / "quick.yaml"
    config = resolve(job.TrainConfig, [quick, preset]).config
    check(config)
    assert config.method == preset.stem
    defaults = {key: option.default for key, option in method_options(config.method).items()}
    assert not config.method_options.items() <= defaults.items(), "`method=NAME` says the same"


def test_every_option_is_documented() -> None:
    sections = [kind for kind in vars(job).values() if dataclasses.is_dataclass(kind)]
    assert len(sections) > 8
    for kind in sections:
        for field in dataclasses.fields(kind):
            section = f"{field.name}_" in f"{kind.__doc__}" or dataclasses.is_dataclass(field.type)
            is_section = kind is job.TrainConfig and field.name in {
                "networks",
                "env",
                "sac",
                "balancing",
                "replay",
                "schedule",
                "collect",
                "evaluation",
                "ray",
                "run",
            }
            assert section or is_section or field.name in str(kind.__doc__), (kind, field.name)


def test_importing_the_package_is_light() -> None:
    import subprocess
    import sys

    code = "import mtrl, mtrl.cli, sys; print({'torch', 'ray', 'metaworld'} & set(sys.modules))"
    environment = {**os.environ}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert result.stdout.strip() == "set()"
