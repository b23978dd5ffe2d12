"""Recorded updates: replayed, they do what they did call by call, for every method."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from mtrl.balancing import METHODS, Aggregator, Balancer, build
from mtrl.balancing.capture import captured_by, host_call, may_read
from mtrl.networks.multi_head import MultiHead
from mtrl.rl.config import BalancingConfig, SACConfig
from mtrl.rl.learning.cuda_graphs import Recording, Tape
from mtrl.rl.learning.learner import Learner, cuda_tapes
from mtrl.rl.learning.replay import Batch, Replay
from mtrl.rl.learning.sac import MultiTaskSAC
from mtrl.runs.nan_guard import NonFiniteGuard
from tests.helpers import NETWORKS, make_agent, make_batch, make_fragment
from tests.op_tape import OpTape

M = 3
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {name: (name, {}) for name in METHODS} | {
    "pivrg, device": ("pivrg", {"solver": "device"}),
    "pivrg, omega one": ("pivrg", {"omega": "one"}),
    "nash_mtl, device": ("nash_mtl", {"solver": "device"}),
    "nash_mtl, every third": ("nash_mtl", {"update_every": 3}),
    "fairgrad, device, informed": ("fairgrad", {"solver": "device", "pi": {}}),
    "dwa, informed": ("dwa", {"window": 2, "pi": {}}),
    "rgb, adaptive": ("rgb", {"adaptive": True, "interval": 2}),
}


def tapes() -> Callable[[], Tape]:
    return OpTape


def make_updates(method: str, options: Mapping[str, Any], *, recorded: bool) -> Learner:
    sac = SACConfig(batch_size=8, actor_interval=2, min_temperature=0.1, reward_scaling="mean")
    agent = make_agent(method, sac=sac, **options)
    replay = Replay(M, 40, 4, 2, discount=0.99, seed=1)
    for task in range(M):
        replay.add(make_fragment(15, task=task, start=task - 1.0))
    return Learner(agent, replay, tapes=tapes if recorded else None)


def play(updates: Learner) -> list[dict[str, Tensor]]:
    """Updates with everything that happens between them in training."""
    seen = []
    for i in range(16):
        if i % 4 == 0:
            updates.replay.add(make_fragment(10, task=i % M, start=0.1 * i))
            updates.set_performance(torch.tensor([0.1 * i, 0.05 * i, float("nan")]).clamp(0, 1))
        if i == 9:
            updates.agent.reset_networks()
            updates.agent.set_reward_scale(torch.tensor([1.0, 2.0, 4.0]))
        metrics, _ = updates(record=i == 6)
        seen.append({name: value.clone() for name, value in metrics.items()})
    return seen


def everything(updates: Learner) -> list[Tensor]:
    state = updates.agent.state_dict() | {"replay": updates.replay.state_dict()}
    return [leaf for leaf in pytree.tree_leaves(state) if isinstance(leaf, Tensor)]


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS.keys())
def test_replayed_updates_are_the_same(variant: tuple[str, dict[str, Any]]) -> None:
    method, options = variant
    plain, recorded = (make_updates(method, options, recorded=r) for r in (False, True))
    expected, found = play(plain), play(recorded)
    assert recorded.recorded and not plain.recorded
    for i, (wanted, got) in enumerate(zip(expected, found, strict=True)):
        assert wanted.keys() == got.keys(), i
        for name in wanted:
            assert torch.equal(wanted[name].nan_to_num(-1.0), got[name].nan_to_num(-1.0)), (i, name)
    for wanted, got in zip(everything(plain), everything(recorded), strict=True):
        assert torch.equal(wanted, got)
    assert plain.agent.updates == recorded.agent.updates == 16


def test_a_host_method_cuts_the_recording_and_a_capturable_one_does_not() -> None:
    """One stretch for a method of tensors; a cut for each balancer's look at the host otherwise."""
    stretches = {}
    for name in ("nash_mtl", "nash_mtl, device", "ls"):
        method, options = VARIANTS[name]
        updates = make_updates(method, options, recorded=True)
        play(updates)
        stretches[name] = {
            actor: sum(isinstance(getattr(step, "__self__", None), OpTape) for step in r._steps)
            for actor, r in updates._recordings.items()
        }
    assert stretches == {
        "nash_mtl": {True: 3, False: 2},
        "nash_mtl, device": {True: 1, False: 1},
        "ls": {True: 1, False: 1},
    }


def test_a_bad_update_is_seen_and_changes_nothing_when_replayed() -> None:
    updates = make_updates("nash_mtl", {}, recorded=True)
    play(updates)
    assert updates.guard.problem(now=True) is None
    before = [p.clone() for p in updates.agent.critic.parameters()]
    updates.replay.rings.reward.fill_(torch.nan)
    updates()
    assert updates.guard.problem(now=True) is not None
    assert all(
        torch.equal(a, b) for a, b in zip(before, updates.agent.critic.parameters(), strict=True)
    )


@pytest.mark.parametrize("part", ["critic", "actor"])
def test_a_method_that_looks_falls_back_with_a_warning(part: str) -> None:
    """One that claims to be capturable and reads a value: the warning says why, the result is the same.

    In the actor it looks after the critic's half has been recorded and, at a cut, carried out.
    """
    plain, updates = (make_updates("nash_mtl", {}, recorded=r) for r in (False, True))

    class Looks(METHODS["ls"]):  # type: ignore[misc, name-defined]
        def task_weights(self, signals: Any) -> Tensor:
            assert float(signals.losses.sum()) is not None
            return super().task_weights(signals)

    for one in (plain, updates):
        one.agent.balancers[part].method = Looks(M, one.agent.balancers[part].method.num_shared)
    play(plain)
    with pytest.warns(UserWarning, match="_local_scalar_dense"):
        play(updates)
    assert not updates.recorded
    for wanted, got in zip(everything(plain), everything(updates), strict=True):
        assert torch.equal(wanted, got)


def test_what_is_loaded_is_recorded_anew() -> None:
    first, second = (make_updates("famo", {}, recorded=True) for _ in range(2))
    play(first)
    play(second)
    for updates in (first, second):
        for _ in range(5):
            updates()
    fresh = make_updates("famo", {}, recorded=True)
    play(fresh)
    state = {"agent": second.agent.state_dict(), "replay": second.replay.state_dict()}
    fresh.agent.load_state_dict(state["agent"])
    fresh.replay.load_state_dict(state["replay"])
    fresh.forget()
    for updates in (first, fresh):
        for _ in range(6):
            updates()
    for wanted, got in zip(everything(first), everything(fresh), strict=True):
        assert torch.equal(wanted, got)


def test_numbers_from_the_host_are_renewed() -> None:
    source = torch.tensor([1.0, 2.0])

    def call() -> dict[str, Any]:
        doubled = source * 2.0
        answer = host_call(lambda: {"sum": float(doubled.sum()), "rows": [doubled + 1.0]})
        return {"sum": answer["sum"], "rows": answer["rows"][0] * 10.0}

    recording = Recording(call, OpTape)
    assert recording.result["sum"] == 6.0
    source.copy_(torch.tensor([5.0, 6.0]))
    again = recording.replay()
    assert again["sum"] == 22.0
    assert again["rows"].tolist() == [110.0, 130.0]


def test_there_are_no_tapes_on_a_cpu() -> None:
    updates = make_updates("ls", {}, recorded=False)
    assert cuda_tapes(updates.agent, updates.replay) is None


class _OneDevice(TorchDispatchMode):
    """Fails where data of some size crosses between the host and a device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        leaves = [x for x in pytree.tree_leaves((args, kwargs, out)) if isinstance(x, Tensor)]
        devices = {x.device.type for x in leaves if x.dim() > 0}
        crossing = "copy" in func._schema.name and len({x.device.type for x in leaves}) > 1
        assert len(devices) < 2 and not crossing, f"{func} mixes host and device"
        return out


def make_method(name: str, options: Mapping[str, Any], num_shared: int) -> Aggregator:
    return build(
        name, M, num_shared, **({"weights": [0.5, 1.0, 1.5]} if name == "fixed" else options)
    )


CAPTURABLE = {
    name: variant for name, variant in VARIANTS.items() if make_method(*variant, 9).capturable
}


@pytest.mark.parametrize("variant", CAPTURABLE.values(), ids=CAPTURABLE.keys())
def test_nothing_crosses_to_or_from_the_device(variant: tuple[str, dict[str, Any]]) -> None:
    """On `meta` tensors, which have no values: looking at one fails, and so does a copy."""
    name, options = variant
    network = MultiHead(M, 6, 1, [80, 70], members=2, layer_norm=True)
    shared = network.shared_parameters()
    method = make_method(name, options, sum(p.numel() for p in shared.values()))
    network, method = network.to("meta"), method.to("meta")
    rows = torch.randn(M, 5, 6, device="meta")
    balancer = Balancer(
        method,
        network.shared_parameters(),
        network.head_parameters(),
        max_norm=1.0,
        head_task_dim=1,
    )

    def losses(values: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        return network(rows, values).square().mean((0, 2, 3)), {}

    performance = torch.rand(M, device="meta")
    with captured_by(NoHost()), _OneDevice(), warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics = balancer.backward(losses, performance)
        balancer.after_step()
    assert metrics["losses"].device.type == "meta"
    assert not may_read(performance)


def test_moving_a_checkpoint_between_devices_keeps_optimisers_recordable() -> None:
    """What `capturable` was on the saving device does not come along."""
    first, second = make_updates("ls", {}, recorded=False), make_updates("ls", {}, recorded=False)
    first()
    state = first.agent.state_dict()
    for optimizer in state["optimizers"].values():
        optimizer["param_groups"][0]["capturable"] = True
    second.agent.load_state_dict(state)
    for optimizer in second.agent.optimizers.values():
        assert not optimizer.param_groups[0]["capturable"], "this one is on a CPU"


@pytest.mark.filterwarnings("ignore:for .*copying from a non-meta parameter")
@pytest.mark.parametrize("method", ["ls", "pivrg", "famo", "sam_gs"])
def test_a_whole_step_stays_on_the_device(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Losses, methods, clipping, temperatures, targets and the guard, on tensors without values."""
    host_rng = torch.Generator()
    monkeypatch.setattr(torch, "Generator", lambda device=None: host_rng)  # `meta` has none
    monkeypatch.setattr(MultiTaskSAC, "_adam", lambda self, parameters, lr: NoAdam())
    monkeypatch.setattr(
        MultiTaskSAC,
        "_noise",
        lambda self, obs: torch.empty(*obs.shape[:-1], self.action_dim, device="meta"),
    )
    agent = MultiTaskSAC(
        M,
        4,
        2,
        networks=NETWORKS,
        sac=SACConfig(min_temperature=0.1),
        balancing=BalancingConfig(),
        method=method,
        method_options={"solver": "device"} if method == "pivrg" else {},
        device="meta",
    )
    guard = NonFiniteGuard(torch.device("meta"))
    batch = Batch(*(part.to("meta") for part in make_batch()))
    performance = torch.empty(M, device="meta")
    with captured_by(NoHost()), _OneDevice():
        metrics = agent.step(batch, performance, actor=True, record=False)
        guard.watch(metrics)
    assert {value.device.type for value in metrics.values()} == {"meta"}


class NoAdam:
    """In place of the fused optimiser, which does not know `meta`."""

    def __init__(self) -> None:
        self.state: dict[Tensor, Any] = {}

    def step(self) -> None:
        """Nothing."""


class NoHost:
    """A recorder for what may not ask the host."""

    def host_call(self, call: Callable[[], Any]) -> Any:
        raise AssertionError("asks the host")
