"""The house: what may import what, and what its files may look like."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import mtrl
from mtrl.balancing import METHODS

ROOT = Path(mtrl.__file__).parent
# Any room may import these; they import nothing of mtrl but one another.
LEAVES = {"errors", "extras", "plugins"}
# Arrows point downwards only.
BELOW_JOBS = {"distributed", "supervised", "rl", "balancing", "networks", "envs", "runs"}
MAY_IMPORT = {
    "balancing": set(),
    "networks": set(),
    "envs": set(),
    "runs": set(),
    "rl": {"balancing", "networks", "envs", "runs"},
    "distributed": {"rl", "balancing", "networks", "envs", "runs"},
    "supervised": {"balancing", "networks", "runs"},
    "jobs": {"config", *BELOW_JOBS},
    "report": {"runs", "balancing"},
    "experiments": {"config", "config_files", "jobs", "report", "runs"},
    "bench": {"config", "jobs", "report", *BELOW_JOBS},
    "result_pages": {"bench", "supervised", "report", "runs"},
    "config": {"config_files"},
    "config_files": set(),
    "doctor": {"config_files", "distributed", "envs"},
    "arguments": {"bench"},
    "failures": set(),
    "cli": {
        *("arguments", "bench", "doctor", "experiments", "failures", "jobs", "report"),
        "result_pages",
    },
    "__main__": {"cli"},
    "__init__": {"rl"},
}
ONLY_IN = {
    "ray": {"distributed", "bench"},
    "metaworld": {"envs", "doctor"},
    "mujoco": {"envs", "bench"},
    "argparse": {"arguments", "cli", "failures", "bench"},
    "matplotlib": {"report", "supervised", "bench"},
}
ACTING_MAY_NOT = ("mtrl.rl.learning", "mtrl.balancing")
MAX_LINES = 300
LONG: dict[str, str] = {}  # with the reason
FILES = sorted(ROOT.rglob("*.py"))


def imports(path: Path) -> set[str]:
    """All modules that a file imports, wherever in it."""
    return named(ast.walk(ast.parse(path.read_text())))


def named(nodes: Iterable[ast.AST]) -> set[str]:
    """The modules that import statements name; `from mtrl.a import b` names `mtrl.a.b` as well."""
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"relative import in line {node.lineno}"
            found.add(str(node.module))
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def used(node: ast.AST) -> Iterator[ast.AST]:
    """A syntax tree without what is there for type checks only."""
    yield node
    children: Iterable[ast.AST] = ast.iter_child_nodes(node)
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        children = node.orelse
    for child in children:
        yield from used(child)


def circle(sources: dict[str, str]) -> list[str]:
    """Modules that import one another, in functions too; first and last the same; or nothing.

    Args:
        sources: the code of every module, by its name.
    """
    edges = {
        name: sorted((named(used(ast.parse(code))) & sources.keys()) - {name})
        for name, code in sources.items()
    }
    done: set[str] = set()

    def follow(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for target in edges[name]:
            if found := follow(target, [*path, name]):
                return found
        done.add(name)
        return []

    return next((found for name in edges if (found := follow(name, []))), [])


def module(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def shared_names(paths: Iterable[Path]) -> set[str]:
    """Names that several files have; every room may have a `config.py` and an `__init__.py`."""
    counts = Counter(path.name for path in paths)
    return {n for n, k in counts.items() if k > 1} - {"config.py", "__init__.py"}


def wrong_lengths(lengths: dict[str, int], known: Iterable[str]) -> set[str]:
    """Files that are too long and not known for it, and known files that no longer are."""
    return {name for name, lines in lengths.items() if lines > MAX_LINES} ^ set(known)


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def violations(path: Path, modules: set[str]) -> list[str]:
    here, wrong = room(path), []
    for name in modules:
        parts = name.split(".")
        if parts[0] == "mtrl" and len(parts) > 1 and parts[1] != "__version__":
            if parts[1] not in {here, *MAY_IMPORT.get(here, set()), *LEAVES}:
                wrong.append(f"{path.name} imports {name}")
            if path.parent == ROOT / "rl" / "acting" and name.startswith(ACTING_MAY_NOT):
                wrong.append(f"{path.name} imports {name}, but acting does not learn")
        elif parts[0] in ONLY_IN and here not in ONLY_IN[parts[0]]:
            wrong.append(f"{path.name} imports {name}")
    return wrong


def test_imports_point_downwards() -> None:
    assert [wrong for path in FILES for wrong in violations(path, imports(path))] == []


def test_the_import_check_can_fail() -> None:
    assert violations(ROOT / "rl" / "x.py", {"ray"})
    assert violations(ROOT / "balancing" / "x.py", {"mtrl.rl.learning.sac"})
    assert violations(ROOT / "supervised" / "x.py", {"mtrl.rl"})
    assert not violations(ROOT / "distributed" / "x.py", {"ray", "mtrl.rl.learning.sac"})
    for room in BELOW_JOBS | {"report", "config"}:
        assert violations(ROOT / room / "x.py", {"mtrl.jobs.config"}), room
    assert violations(ROOT / "jobs" / "x.py", {"mtrl.report.curves"})
    assert violations(ROOT / "rl" / "acting" / "x.py", {"mtrl.balancing"})
    assert violations(ROOT / "rl" / "acting" / "x.py", {"mtrl.rl.learning.losses"})
    assert not violations(ROOT / "rl" / "acting" / "x.py", {"mtrl.rl.config", "mtrl.networks"})


def test_no_modules_import_one_another() -> None:
    assert circle({module(path): path.read_text() for path in FILES}) == []


def test_the_circle_check_can_fail() -> None:
    a, c = "from mtrl import b", "import mtrl.a"
    found = circle(
        {"mtrl.a": a, "mtrl.b": "try:\n    from mtrl.c import x\nfinally: ...", "mtrl.c": c}
    )
    assert found == ["mtrl.a", "mtrl.b", "mtrl.c", "mtrl.a"]
    assert circle({"mtrl.a": a, "mtrl.b": "def f():\n    import mtrl.a"})
    assert circle({"mtrl.a": a, "mtrl.b": "if TYPE_CHECKING:\n    import mtrl.a"}) == []


def test_no_two_files_share_a_name() -> None:
    assert shared_names(FILES) == set()


def test_the_check_of_names_can_fail() -> None:
    paths = [ROOT / room / name for room in ("rl", "runs") for name in ("config.py", "log.py")]
    assert shared_names(paths) == {"log.py"}


def test_files_stay_small() -> None:
    lengths = {str(p.relative_to(ROOT)): len(p.read_text().splitlines()) for p in FILES}
    assert wrong_lengths(lengths, LONG) == set()
    assert lengths["cli.py"] <= 200


def test_the_check_of_lengths_can_fail() -> None:
    lengths = {"a.py": 301, "b.py": 300}
    assert wrong_lengths(lengths, {}) == {"a.py"}
    assert wrong_lengths(lengths, {"a.py", "b.py"}) == {"b.py"}
    assert wrong_lengths(lengths, {"a.py"}) == set()


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


def test_no_trainer_names_a_method() -> None:
    for folder in ("rl", "distributed"):
        for path in (ROOT / folder).rglob("*.py"):
            names = {
                node.value
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Constant) and isinstance(node.value, str)
            }
            # `ls` is the documented stand-in where a method cannot serve the actor.
            assert not names & (set(METHODS) - {"ls"}), path


def test_the_supervised_trainer_names_no_method_and_no_problem() -> None:
    from mtrl.supervised.problems import PROBLEMS

    for name in ("epoch_trainer", "model_learner", "task_metrics", "problem", "single_task"):
        tree = ast.parse((ROOT / "supervised" / f"{name}.py").read_text())
        words = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)}
        assert not words & {*METHODS, *PROBLEMS}, name
        assert not any(
            "problems" in module for module in imports(ROOT / "supervised" / f"{name}.py")
        )


def test_importing_the_package_is_light() -> None:
    code = "import mtrl, mtrl.cli, sys; print({'torch', 'ray', 'metaworld'} & set(sys.modules))"
    environment = {**os.environ}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert result.stdout.strip() == "set()"


def test_a_local_run_never_imports_ray(tmp_path: Path) -> None:
    arguments = [
        "train", "-c", "fake", "networks.actor=[8]", "networks.critic=[8]", "sac.batch_size=4",
        "schedule.total_env_steps=600", "schedule.warmup_env_steps=300", "env.num_goals=2",
        "run.tensorboard=false", f"run.directory={tmp_path}",
    ]  # fmt: skip
    code = (
        "import sys; from mtrl.cli import main; assert main(sys.argv[1:]) == 0;"
        "assert 'mtrl.rl.trainer' in sys.modules; print('ray' in sys.modules)"
    )
    command = [sys.executable, "-c", code, *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "False"
    assert list(tmp_path.glob("*/eval/final.json")), "it was trained to its end"
