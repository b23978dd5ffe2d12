"""The benchmarks measure what they say: parts of the scripts, without a clock."""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from mtrl.envs import EnvConfig, load_tasks
from mtrl.envs.verify import Difference, Report

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Import a script by name; names that they share go again after the test."""
    monkeypatch.syspath_prepend(str(SCRIPTS))

    def load(name: str) -> ModuleType:
        path = SCRIPTS / (f"{name}.py" if name.startswith("_") else name)
        spec = importlib.util.spec_from_loader(name, SourceFileLoader(name, str(path)))
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return load


def test_turns_alternate_and_the_first_round_is_not_counted(script: Callable[[str], Any]) -> None:
    order: list[str] = []

    def turn(name: str) -> int:
        order.append(name)
        return len(order)

    found = script("_bench").take_turns({"a": lambda: turn("a"), "b": lambda: turn("b")}, 3)
    assert "".join(order) == "baabbaab"
    assert found == {"a": [3, 6, 7], "b": [4, 5, 8]}


def test_a_ratio_is_taken_within_rounds(script: Callable[[str], Any]) -> None:
    bench = script("_bench")
    assert bench.paired_ratio([2.0, 30.0, 8.0], [1.0, 10.0, 2.0]) == 3.0  # of 2, 3 and 4
    assert bench.lower_quartile([4.0, 1.0, 3.0, 2.0, 5.0]) == 2.0


def test_raw_files_say_which_code_was_measured(
    script: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = script("_bench")
    repository = tmp_path / "repository"
    (repository / "mtrl").mkdir(parents=True)
    monkeypatch.setattr(bench, "ROOT", repository.resolve())
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert bench.commit() is None

    def git(*arguments: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b"]
        command = ["git", *who, *arguments]
        return subprocess.run(
            command, cwd=repository, capture_output=True, text=True, check=True
        ).stdout.strip()

    code = repository / "mtrl" / "code.py"
    code.write_text("a = 1\n")
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    head = git("rev-parse", "HEAD")
    assert bench.commit() == {"commit": head, "dirty": False}
    (repository / "results.json").write_text("{}")  # written while benchmarks run
    assert bench.commit() == {"commit": head, "dirty": False}
    code.write_text("a = 2\n")
    assert bench.commit() == {"commit": head, "dirty": True}
    monkeypatch.setattr(bench, "ROOT", (repository / "mtrl").resolve())
    assert bench.commit() is None  # the repository around a folder is another one


@pytest.fixture
def critics(script: Callable[[str], Any]) -> Any:
    return script("bench_learner").Critics(
        argparse.Namespace(
            tasks=5, batch=16, width=32, depth=3, layer_norm=True, dtype="float64", seed=0
        )
    )


def test_all_ways_give_the_same_task_gradients(critics: Any) -> None:
    expected = critics.task_gradients()
    for blocks in (critics.own_rows(), critics.task_gradients("loop")):
        assert [b.shape for b in blocks] == [e.shape for e in expected]
        for block, reference in zip(blocks, expected, strict=True):
            torch.testing.assert_close(block, reference, rtol=1e-10, atol=1e-12)
    plain = critics.plain_sum()[: len(expected)]
    for total, reference in zip(plain, expected, strict=True):
        torch.testing.assert_close(total, reference.sum(0), rtol=1e-10, atol=1e-12)


class Products(TorchDispatchMode):
    """Counts the floating-point operations of matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in flop_registry:
            self.operations += flop_registry[func.overloadpacket](*args, out_val=out)
        return out


def test_passes_over_own_rows_take_the_operations_of_the_plain_sum(critics: Any) -> None:
    def operations(call: Callable[[], Any]) -> int:
        with Products() as products:
            call()
        return products.operations

    plain = operations(critics.plain_sum)
    assert operations(critics.task_gradients) == plain
    assert operations(critics.own_rows) == plain
    # A third of the plain sum is the forward pass, which the joint graph takes once.
    joint = operations(lambda: critics.task_gradients("loop"))
    assert joint > 0.6 * len(critics.rows) * plain


@pytest.mark.parametrize("envs", [1, 2])
def test_both_sides_of_a_rollout_take_the_same_steps(
    envs: int, script: Callable[[str], Any]
) -> None:
    tasks = load_tasks(EnvConfig(tasks="fake3", horizon=7, num_goals=3))
    pair = script("bench_rollout").Pair(tasks, 8, envs, 10, 0)
    taken: dict[str, list[tuple[int, Any]]] = {"worker": [], "bare": []}
    for side, runner in (("worker", pair.worker), ("bare", pair.bare)):
        for i, env in enumerate(runner.envs):
            _record(env, i, taken[side])
    for number in range(3):
        pair.turn(number)
    assert len(taken["worker"]) > 3 * 10 * 3 * envs  # steps, and resets among them
    for ours, bare in zip(taken["worker"], taken["bare"], strict=True):
        assert ours[0] == bare[0]
        np.testing.assert_array_equal(ours[1], bare[1])
    assert len(pair.loop) == len(pair.alone) == 2


def test_the_record_of_a_comparison_keeps_what_differs(
    script: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = script("verify_env")
    found = Report({"a": 7}, {"a": 2}, {"a": 1}, [Difference("a", 6, "walk", "reward", "1", "2")])
    monkeypatch.setattr(record, "verify", lambda names, steps: found)
    assert record.compare("a", 20) == {
        "task": "a",
        "steps": 7,
        "resets": 2,
        "same exceptions": 1,
        "difference": "a, step 6, mode walk, reward: original 1, fast 2",
    }


def _record(env: Any, index: int, log: list[tuple[int, Any]]) -> None:
    step, reset = env.step, env.reset

    def stepped(action: Any) -> Any:
        log.append((index, np.array(action)))
        return step(action)

    def restarted(*args: Any, **options: Any) -> Any:
        log.append((index, None))
        return reset(*args, **options)

    env.step, env.reset = stepped, restarted
