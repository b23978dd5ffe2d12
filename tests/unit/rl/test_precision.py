"""Reduced precision touches products alone; TF32 is refused where there is none."""

from __future__ import annotations

import pytest
import torch

from mtrl.networks.multi_head import MultiHead
from mtrl.rl.acting.policy import build_actor
from mtrl.rl.config import BalancingConfig
from mtrl.rl.learning.sac import MultiTaskSAC
from mtrl.rl.learning.weight_sync import WeightSync
from mtrl.runs.device import check_precision
from tests.helpers import NETWORKS, make_agent, make_batch


def make_bf16_agent() -> MultiTaskSAC:
    plain = make_agent("nash_mtl")
    agent = MultiTaskSAC(
        3,
        4,
        2,
        networks=NETWORKS,
        sac=plain.config,
        balancing=BalancingConfig(),
        method="nash_mtl",
        precision="bf16",
    )
    agent.load_networks(plain.state_dict())
    return agent


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("per_task", [False, True])
def test_bf16_products_are_those_of_rounded_inputs(layer_norm: bool, per_task: bool) -> None:
    torch.manual_seed(0)
    exact = MultiHead(3, 6, 2, [32, 32], members=2, layer_norm=layer_norm)
    rounded = MultiHead(
        3, 6, 2, [32, 32], members=2, layer_norm=layer_norm, product_dtype=torch.bfloat16
    )
    # All units are active: at a kink, rounding would decide whether a gradient counts at all.
    for name, parameter in exact.named_parameters():
        torch.nn.init.normal_(parameter, std=0.3)
        parameter.data += 4.0 * ("bias" in name or "shift" in name) + ("scale" in name)
    rounded.load_state_dict(exact.state_dict())
    rows, grads = torch.randn(3, 16, 6), []
    for network in (exact, rounded):
        shared = network.shared_parameters()
        if per_task:
            shared = {k: p.detach().expand(3, *p.shape).requires_grad_() for k, p in shared.items()}
        output = network(rows, shared)
        assert output.dtype == torch.float32
        grads.append(
            [output.detach(), *torch.autograd.grad(output.square().sum(), list(shared.values()))]
        )
    for wanted, got in zip(*grads, strict=True):
        assert got.dtype == torch.float32
        off = float((wanted - got).norm() / wanted.norm())
        assert 1e-4 < off < 0.025, "bf16 keeps 8 bits: each rounding is off by 0.4 % at most"


def test_a_bf16_agent_learns_in_float32_state() -> None:
    exact, rounded = make_agent("nash_mtl"), make_bf16_agent()
    for i in range(5):
        wanted = exact.update(make_batch(seed=i)).steps["critic"].losses
        got = rounded.update(make_batch(seed=i)).steps["critic"].losses
        assert torch.allclose(wanted, got, rtol=0.05)
    assert all(p.dtype == torch.float32 for p in rounded.critic.parameters())
    assert all(
        value.dtype in (torch.float32, torch.float64)
        for state in rounded.optimizers["critic"].state.values()
        for value in state.values()
    )


def test_tf32_needs_a_gpu() -> None:
    check_precision("tf32", torch.device("cuda"))
    for precision in ("float32", "bf16"):
        check_precision(precision, torch.device("cpu"))
    with pytest.raises(ValueError, match="tf32` needs a GPU"):
        check_precision("tf32", torch.device("cpu"))


def test_weights_leave_as_they_were_when_asked_for() -> None:
    actor = build_actor(3, 4, 2, NETWORKS)
    export = WeightSync(actor)
    assert export.take(wait=True) is None
    export.start(7)
    first = next(actor.parameters())
    before = first.detach().flatten()[0].item()
    with torch.no_grad():
        first.add_(1.0)
    taken = export.take(wait=False)
    assert taken is not None
    weights, version = taken
    assert version == 7
    assert weights[0] == before
    assert export.take(wait=True) is None, "each version is taken once"
