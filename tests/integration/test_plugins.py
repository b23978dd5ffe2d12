"""Methods and problems of other packages: both entry-point groups, good, broken and gone."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mtrl.balancing import build
from mtrl.cli import main
from mtrl.errors import PluginError

METHOD = """
from mtrl.balancing.methods.ls import LS

class Halved(LS):
    def __init__(self, num_tasks: int, num_shared: int, *, seed: int = 0, share: float = 0.5):
        super().__init__(num_tasks, num_shared, seed=seed)
        self.share = share

    def task_weights(self, signals):
        return super().task_weights(signals) * self.share

class Not:
    pass
"""
PROBLEM = """
from mtrl.supervised.problems.digits import Digits

class Few(Digits):
    def __init__(self, *, pairs: int = 96):
        super().__init__(variant="CL_RR", pairs=pairs)
"""
SMALL = ["-c", "fake", "run.tensorboard=false", "networks.actor=[8]", "networks.critic=[8]",
         "sac.batch_size=4", "schedule.total_env_steps=600", "schedule.warmup_env_steps=300",
         "evaluation.interval_env_steps=0", "env.num_goals=2"]  # fmt: skip
Install = Callable[[str, str, str], Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a package of one module and one entry point; returns its metadata's folder."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.chdir(tmp_path)

    def put(group: str, target: str, code: str) -> Path:
        module = target.partition(":")[0]
        monkeypatch.delitem(sys.modules, module, raising=False)
        (site / f"{module}.py").write_text(code)
        info = site / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{group}]\nmine = {target}\n")
        importlib.invalidate_caches()
        return info

    return put


def test_a_method_of_another_package_trains_and_its_run_is_evaluated_without_it(
    install: Install, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    info = install("mtrl.methods", "plug_method:Halved", METHOD)
    assert build("mine", 2, 3, share=0.25).share == 0.25  # type: ignore[attr-defined]
    assert main(["train", *SMALL, "method=mine", "method_options.share=0.25"]) == 0
    (run,) = (tmp_path / "runs").iterdir()
    final = json.loads((run / "eval" / "final.json").read_text())
    capsys.readouterr()

    (info / "entry_points.txt").unlink()
    (tmp_path / "site" / "plug_method.py").unlink()
    del sys.modules["plug_method"]
    importlib.invalidate_caches()
    assert main(["train", *SMALL, "method=mine"]) == 2
    assert "Unknown balancing method 'mine'" in capsys.readouterr().err
    assert main(["eval", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["success"] == final["success"]


def test_options_of_a_methods_plug_in_are_checked(
    install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install("mtrl.methods", "plug_options:Halved", METHOD)
    assert main(["train", *SMALL, "method=mine", "method_options.shape=1"]) == 2
    assert "Did you mean 'share'?" in capsys.readouterr().err
    assert main(["train", *SMALL, "method=mine", "method_options.share=half"]) == 2
    assert "should be a number. Found 'half'" in capsys.readouterr().err
    assert main(["train", *SMALL, "method=min"]) == 2
    assert "Did you mean 'mine'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("target", "code", "parts"),
    [
        ("plug_broken:Halved", "import nothing_of_this_name\n", ["nothing_of_this_name", "line 1"]),
        ("plug_syntax:Halved", "def (:\n", ["SyntaxError"]),
        ("plug_absent:Missing", METHOD, ["Missing"]),
        ("plug_other:Not", METHOD, ["derived from", "Aggregator"]),
    ],
)
def test_a_broken_method_is_named_with_its_package(
    target: str,
    code: str,
    parts: list[str],
    install: Install,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    install("mtrl.methods", target, code)
    assert main(["train", *SMALL, "method=mine"]) == 3
    said = capsys.readouterr().err
    for part in ["'mine'", "mtrl.methods", *parts]:
        assert part in said
    assert not (tmp_path / "runs").exists()
    assert main(["train", *SMALL, "method=pivgr"]) == 2, "a broken plug-in harms no other method"
    with pytest.raises(PluginError):
        build("mine", 2, 3)


def test_a_problem_of_another_package_trains(
    install: Install, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install("mtrl.problems", "plug_problem:Few", PROBLEM)
    job = ["problem=mine", "problem_options.pairs=96", "recipe.epochs=1", "run.tensorboard=false"]
    assert main(["supervised", *job]) == 0
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.startswith("mine-ls-s0-")
    assert json.loads((run / "status.json").read_text())["state"] == "done"
    capsys.readouterr()
    assert main(["supervised", *job, "problem_options.pair=3"]) == 2
    assert "Did you mean 'pairs'?" in capsys.readouterr().err
    assert main(["supervised", "problem=mines"]) == 2
    assert "Did you mean 'mine'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("target", "code", "exit_code", "part"),
    [
        ("plug_bad_problem:Few", "raise RuntimeError('not today')\n", 3, "not today"),
        ("plug_no_problem:Not", METHOD, 2, "derived from mtrl.supervised.Problem"),
    ],
)
def test_a_broken_problem_is_named(
    target: str,
    code: str,
    exit_code: int,
    part: str,
    install: Install,
    capsys: pytest.CaptureFixture[str],
) -> None:
    install("mtrl.problems", target, code)
    assert main(["supervised", "problem=mine"]) == exit_code
    said = capsys.readouterr().err
    assert part in said
    assert "'mine'" in said


def test_a_broken_file_of_a_problem_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bad.py"
    file.write_text("x = 1\nraise RuntimeError('not today')\n")
    assert main(["supervised", f"problem={file}:Thing"]) == 3
    said = capsys.readouterr().err
    assert "not today" in said
    assert "bad.py, line 2" in said
