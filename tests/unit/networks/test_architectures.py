"""Every architecture: its parameters, its gradients per task, its acting, its errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mtrl.balancing import task_gradients
from mtrl.networks import ARCHITECTURES, Architecture, build_architecture

M, IN, OUT, ROWS = 3, 5, 2, 4


def build(name: str, **common: object) -> Architecture:
    torch.manual_seed(0)
    network = build_architecture(name, M, IN, OUT, [8, 6], options={}, **common)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.5)
    return network


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("one_hot", [False, True])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_acting_is_the_forward_pass(name: str, one_hot: bool, layer_norm: bool) -> None:
    network = build(name, task_one_hot=one_hot, layer_norm=layer_norm)
    rows = np.random.default_rng(0).standard_normal((M * ROWS, IN), dtype=np.float32)
    wanted = Architecture.acting(network, ROWS)(rows)
    assert wanted.shape == (M * ROWS, OUT)
    np.testing.assert_allclose(network.acting(ROWS)(rows), wanted, atol=1e-5)
    with torch.no_grad():
        plain = network(torch.from_numpy(rows).view(M, ROWS, IN))[0].flatten(0, 1)
    np.testing.assert_array_equal(wanted, plain)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_parameters_are_shared_or_belong_to_a_head(name: str) -> None:
    network = build(name, members=2)
    heads, shared = network.head_parameters(), network.shared_parameters()
    assert not heads.keys() & shared.keys()
    assert {**heads, **shared} == dict(network.named_parameters())
    assert all(p.shape[network.head_task_dim] == M for p in heads.values())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_one_backward_pass_gives_each_tasks_gradient(name: str) -> None:
    network = build(name, members=2, layer_norm=True).double()
    rows = torch.randn(M, ROWS, IN, dtype=torch.float64)

    def losses(shared: dict[str, Tensor]) -> tuple[Tensor, None]:
        return network(rows, shared).square().mean((0, 2, 3)), None

    shared, heads = network.shared_parameters(), list(network.head_parameters().values())
    _, _, gradients, head_gradients = task_gradients(losses, shared, heads, M)
    for task in range(M):
        loss = network(rows).square().mean((0, 2, 3))[task]
        wanted = torch.autograd.grad(loss, list(shared.values()))
        flat = torch.cat([g.flatten() for g in wanted])
        assert torch.allclose(gradients.matrix()[task], flat, rtol=1e-12, atol=1e-12)
        for whole, own in zip(head_gradients, torch.autograd.grad(
            network(rows).square().mean((0, 2, 3))[task], heads
        ) if heads else [], strict=True):  # fmt: skip
            assert torch.allclose(whole[:, task], own[:, task])


def test_an_architecture_of_ones_own_needs_a_forward_pass_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Linear(Architecture):
        def __init__(self, num_tasks: int, i: int, o: int, widths: list[int], *, members: int = 1,
                     gain: float = 1.0, **_: object) -> None:  # fmt: skip
            super().__init__(num_tasks, members)
            self.weight = nn.Parameter(torch.randn(members, i, o) * gain)

        def head_parameters(self) -> dict[str, nn.Parameter]:
            return {}

        def outputs(self, rows: Tensor) -> Tensor:
            return torch.einsum("mbi,eio->embo", rows, self.weight)

    monkeypatch.setitem(ARCHITECTURES, "linear", Linear)
    network = build_architecture("linear", M, IN, OUT, [8], options={"gain": 0.0}, members=2)
    assert not network(torch.randn(M, ROWS, IN)).any()
    assert network.acting(ROWS)(np.ones((M * ROWS, IN), np.float32)).shape == (M * ROWS, OUT)
    with pytest.raises(ValueError, match=r"no option 'again'. Its options: gain"):
        build_architecture("linear", M, IN, OUT, [8], options={"again": 1})


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"Unknown architecture 'multihead'. Expected one of multi"
    ):
        build("multihead")


def test_parameters_per_task_have_to_be_one_value() -> None:
    network = build("multi_head")
    shared = {k: p.repeat(M, *[1] * p.dim()) for k, p in network.shared_parameters().items()}
    with pytest.raises(ValueError, match="one value expanded"):
        network(torch.randn(M, ROWS, IN), shared)
