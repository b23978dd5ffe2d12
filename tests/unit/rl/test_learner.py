"""Captured updates: replayed, they do what they did call by call, for every method."""

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
from mtrl.rl.learning import sac as sac_module
from mtrl.rl.learning.cuda_graphs import CapturedStep
from mtrl.rl.learning.learner import Learner, cuda_graph_pools
from mtrl.rl.learning.replay import Batch, Replay
from mtrl.rl.learning.sac import MultiTaskSAC
from mtrl.runs.nan_guard import NonFiniteGuard
from tests.helpers import NETWORKS, make_agent, make_batch, make_fragment
from tests.op_graph import OpGraph, OpGraphPool

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


def make_learner(method: str, options: Mapping[str, Any], *, captured: bool) -> Learner:
    sac = SACConfig(batch_size=8, actor_interval=2, min_temperature=0.1, reward_scaling="mean")
    agent = make_agent(method, sac=sac, **options)
    replay = Replay(M, 40, 4, 2, discount=0.99, seed=1)
    for task in range(M):
        replay.add(make_fragment(15, task=task, start=task - 1.0))
    return Learner(agent, replay, new_pool=OpGraphPool if captured else None)


def play(learner: Learner) -> list[dict[str, Tensor]]:
    """Updates with everything that happens between them in training."""
    seen = []
    for i in range(16):
        if i % 4 == 0:
            learner.replay.add(make_fragment(10, task=i % M, start=0.1 * i))
            learner.set_performance(torch.tensor([0.1 * i, 0.05 * i, float("nan")]).clamp(0, 1))
        if i == 9:
            learner.agent.reset_networks()
            learner.agent.set_reward_scale(torch.tensor([1.0, 2.0, 4.0]))
        update, _ = learner.update(i, diagnose=i == 6)
        found = {"finite": update.finite, "masked": update.masked} | update.metrics
        for part, step in update.steps.items():
            found |= {f"{part}/{key}": value for key, value in step.aux.items()}
            if step.weights is not None:
                found[f"{part}/step weights"] = step.weights
        seen.append({name: value.clone() for name, value in found.items()})
    return seen


def everything(learner: Learner) -> list[Tensor]:
    state = learner.agent.state_dict() | {"replay": learner.replay.state_dict()}
    return [leaf for leaf in pytree.tree_leaves(state) if isinstance(leaf, Tensor)]


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS.keys())
def test_replayed_updates_are_the_same(variant: tuple[str, dict[str, Any]]) -> None:
    method, options = variant
    plain, captured = (make_learner(method, options, captured=c) for c in (False, True))
    expected, found = play(plain), play(captured)
    assert captured.captured and not plain.captured
    for i, (wanted, got) in enumerate(zip(expected, found, strict=True)):
        assert wanted.keys() == got.keys(), i
        for name in wanted:
            assert torch.equal(wanted[name].nan_to_num(-1.0), got[name].nan_to_num(-1.0)), (i, name)
    for wanted, got in zip(everything(plain), everything(captured), strict=True):
        assert torch.equal(wanted, got)


def test_a_host_method_cuts_the_capture_and_a_capturable_one_does_not() -> None:
    """One graph for a method of tensors; a cut for each balancer's look at the host otherwise."""
    graphs = {}
    for name in ("nash_mtl", "nash_mtl, device", "ls"):
        method, options = VARIANTS[name]
        learner = make_learner(method, options, captured=True)
        play(learner)
        graphs[name] = {
            actor: sum(isinstance(getattr(work, "__self__", None), OpGraph) for work in c._work)
            for actor, c in learner._captured.items()
        }
    assert graphs == {
        "nash_mtl": {True: 3, False: 2},
        "nash_mtl, device": {True: 1, False: 1},
        "ls": {True: 1, False: 1},
    }


def test_a_bad_update_is_seen_and_changes_nothing_when_replayed() -> None:
    learner = make_learner("nash_mtl", {}, captured=True)
    play(learner)
    assert learner.guard.problem(now=True) is None
    before = [p.clone() for p in learner.agent.critic.parameters()]
    learner.replay.rings.reward.fill_(torch.nan)
    learner.update(16)
    assert learner.guard.problem(now=True) is not None
    assert all(
        torch.equal(a, b) for a, b in zip(before, learner.agent.critic.parameters(), strict=True)
    )


@pytest.mark.parametrize("part", ["critic", "actor"])
def test_a_method_that_looks_falls_back_with_a_warning(part: str) -> None:
    """One that claims to be capturable and reads a value: the warning says why, the result is the same.

    In the actor it looks after the critic's half has been captured and, at a cut, carried out.
    """
    plain, learner = (make_learner("nash_mtl", {}, captured=c) for c in (False, True))

    class Looks(METHODS["ls"]):  # type: ignore[misc, name-defined]
        def task_weights(self, signals: Any) -> Tensor:
            assert float(signals.losses.sum()) is not None
            return super().task_weights(signals)

    for one in (plain, learner):
        one.agent.balancers[part].method = Looks(M, one.agent.balancers[part].method.num_shared)
    play(plain)
    with pytest.warns(UserWarning, match="_local_scalar_dense"):
        play(learner)
    assert not learner.captured
    for wanted, got in zip(everything(plain), everything(learner), strict=True):
        assert torch.equal(wanted, got)


def test_what_is_loaded_is_captured_anew() -> None:
    first, second = (make_learner("famo", {}, captured=True) for _ in range(2))
    play(first)
    play(second)
    for learner in (first, second):
        for number in range(16, 21):
            learner.update(number)
    fresh = make_learner("famo", {}, captured=True)
    play(fresh)
    state = {"agent": second.agent.state_dict(), "replay": second.replay.state_dict()}
    fresh.agent.load_state_dict(state["agent"])
    fresh.replay.load_state_dict(state["replay"])
    fresh.forget()
    for learner in (first, fresh):
        for number in range(21, 27):
            learner.update(number)
    for wanted, got in zip(everything(first), everything(fresh), strict=True):
        assert torch.equal(wanted, got)


def test_numbers_from_the_host_are_renewed() -> None:
    source = torch.tensor([1.0, 2.0])

    def call() -> dict[str, Any]:
        doubled = source * 2.0
        answer = host_call(lambda: {"sum": float(doubled.sum()), "rows": [doubled + 1.0]})
        return {"sum": answer["sum"], "rows": answer["rows"][0] * 10.0}

    captured = CapturedStep(call, OpGraphPool())
    assert captured.result["sum"] == 6.0
    source.copy_(torch.tensor([5.0, 6.0]))
    again = captured.replay()
    assert again["sum"] == 22.0
    assert again["rows"].tolist() == [110.0, 130.0]


def test_there_are_no_graphs_on_a_cpu() -> None:
    learner = make_learner("ls", {}, captured=False)
    assert cuda_graph_pools(learner.agent, learner.replay) is None


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
        step = balancer.backward(losses, performance)
        balancer.after_step()
    assert step.losses.device.type == "meta"
    assert not may_read(performance)


def test_moving_a_checkpoint_between_devices_keeps_optimisers_capturable() -> None:
    """What `capturable` was on the saving device does not come along."""
    first, second = (make_learner("ls", {}, captured=False) for _ in range(2))
    first.update(0)
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
    monkeypatch.setattr(sac_module, "build_adam", lambda *arguments: NoAdam())
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
        update = agent.update(batch, performance)
        guard.watch(update.finite, update.masked)
    assert {value.device.type for value in update.metrics.values()} == {"meta"}


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
