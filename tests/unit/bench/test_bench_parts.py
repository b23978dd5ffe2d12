"""The benches measure what they say: their parts, without a clock."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from mtrl.bench import BENCHES, command
from mtrl.bench.bench_options import option
from mtrl.bench.benches.critic_gradients import Critics, Options
from mtrl.bench.benches.worker_loop import Pair
from mtrl.bench.timing import lower_quartile, paired_ratio, take_turns
from mtrl.envs import EnvConfig, load_tasks


def test_turns_alternate_and_the_first_round_is_not_counted() -> None:
    order: list[str] = []

    def turn(name: str) -> int:
        order.append(name)
        return len(order)

    found = take_turns({"a": lambda: turn("a"), "b": lambda: turn("b")}, 3)
    assert "".join(order) == "baabbaab"
    assert found == {"a": [3, 6, 7], "b": [4, 5, 8]}


def test_a_ratio_is_taken_within_rounds() -> None:
    assert paired_ratio([2.0, 30.0, 8.0], [1.0, 10.0, 2.0]) == 3.0  # of 2, 3 and 4
    assert lower_quartile([4.0, 1.0, 3.0, 2.0, 5.0]) == 2.0


@pytest.fixture
def critics() -> Critics:
    return Critics(Options(tasks=5, batch=16, width=32, layer_norm=True, dtype="float64"))


def test_all_ways_give_the_same_task_gradients(critics: Critics) -> None:
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


def test_passes_over_own_rows_take_the_operations_of_the_plain_sum(critics: Critics) -> None:
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
def test_both_sides_of_a_rollout_take_the_same_steps(envs: int) -> None:
    tasks = load_tasks(EnvConfig(tasks="fake3", horizon=7, num_goals=3))
    pair = Pair(tasks, 8, envs, 10, 0)
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


def _record(env: Any, index: int, log: list[tuple[int, Any]]) -> None:
    step, reset = env.step, env.reset

    def stepped(action: Any) -> Any:
        log.append((index, np.array(action)))
        return step(action)

    def restarted(*args: Any, **options: Any) -> Any:
        log.append((index, None))
        return reset(*args, **options)

    env.step, env.reset = stepped, restarted


@dataclasses.dataclass(frozen=True, kw_only=True)
class Example:
    """One option of each type."""

    count: int = option(3, "a number")
    rate: float = option(0.5, "a fraction")
    sizes: tuple[int, ...] = option((1, 2), "numbers")
    names: tuple[str, ...] = option(("a",), "texts")
    kind: Literal["x", "y"] = option("x", "a choice")
    deep_down: bool = option(False, "a flag")
    where: Path | None = option(None, "a folder")
    files: list[str] | None = option(None, "several", flags=["-f"], action="append")
    rest: list[str] = option((), "the others", positional=True, nargs="*")


def read(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Example:
    bench = type("bench", (), {"Options": Example, "__doc__": "An example."})
    monkeypatch.setattr(command.importlib, "import_module", lambda name: bench)
    monkeypatch.setitem(BENCHES, "example", BENCHES["env"])
    options, as_json = command.parse("example", arguments)
    assert not as_json
    return options


def test_options_have_their_types(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch) == Example()
    words = "--count 4 --rate 0.25 --sizes 5,6,7 --names b,c --kind y --deep-down --where w"
    found = read(monkeypatch, "r", *words.split(), "-f", "one", "--files", "two", "s")
    assert found == Example(
        count=4, rate=0.25, sizes=(5, 6, 7), names=("b", "c"), kind="y", deep_down=True,
        where=Path("w"), files=["one", "two"], rest=["r", "s"],
    )  # fmt: skip


def test_an_option_of_another_type_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["--sizes", "1,b"], ["--kind", "z"], ["--coun", "3"]):
        with pytest.raises(SystemExit) as caught:
            read(monkeypatch, *words)
        assert caught.value.code == 2
    assert "invalid int list value: '1,b'" in capsys.readouterr().err
