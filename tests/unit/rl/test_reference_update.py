"""`MultiTaskSAC.update` against the same update written out in plain torch, one task at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mtrl.networks import Architecture
from mtrl.rl.config import BalancingConfig, NetworkConfig, SACConfig
from mtrl.rl.learning.replay import Batch
from mtrl.rl.learning.sac import MultiTaskSAC

M, B, OBS, ACTION = 2, 6, 4, 2
NETWORKS = NetworkConfig(
    actor=[7], critic=[9, 8], critic_layer_norm=True, log_std_min=-1.0, log_std_max=0.3
)
# Every number differs from its default and from what leaves a term out; the bound lies among the norms
# that occur, and Adam's epsilon among the entries, so that a gradient's scale matters.
SAC = SACConfig(
    tau=0.03,
    actor_lr=0.02,
    critic_lr=0.01,
    temperature_lr=0.05,
    adam_eps=1e-2,
    max_grad_norm=7.0,
    initial_temperature=0.3,
    target_entropy=-1.5,
    reward_scaling="mean",
    reward_factor=2.0,
)
MEANS = torch.tensor([0.5, 2.0])

Parameters = dict[str, Tensor]
Direction = Callable[[list[Tensor]], Tensor]


@pytest.fixture(autouse=True)
def double_precision() -> Iterator[None]:
    """Two ways of computing one number then differ by 1e-15, not by float32's rounding."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


# ------------------------------------------------------------------------- networks, one row at a time


def network(p: Parameters, rows: Tensor, task: int, member: int = 0) -> Tensor:
    """`[b, in] -> [b, out]` of one member for one task."""
    one_hot = F.one_hot(torch.tensor(task), M).to(rows.dtype)
    x = torch.cat([rows, one_hot.expand(len(rows), M)], 1)
    layer = 0
    while f"trunk.layers.{layer}.linear.weight" in p:
        x = (
            x @ p[f"trunk.layers.{layer}.linear.weight"][member]
            + p[f"trunk.layers.{layer}.linear.bias"][member]
        )
        if f"trunk.layers.{layer}.norm.scale" in p:
            x = (x - x.mean(1, keepdim=True)) / (
                x.var(1, unbiased=False, keepdim=True) + 1e-5
            ).sqrt()
            x = (
                x * p[f"trunk.layers.{layer}.norm.scale"][member]
                + p[f"trunk.layers.{layer}.norm.shift"][member]
            )
        x = x.clamp_min(0.0)
        layer += 1
    return x @ p["head_weight"][member, task] + p["head_bias"][member, task]


def act(actor: Parameters, obs: Tensor, noise: Tensor, task: int) -> tuple[Tensor, Tensor]:
    """A squashed Gaussian action and its log-probability."""
    mean, log_std = network(actor, obs, task).chunk(2, 1)
    std = log_std.clamp(NETWORKS.log_std_min, NETWORKS.log_std_max).exp()
    raw = mean + std * noise
    action = torch.tanh(raw)
    log_prob = torch.distributions.Normal(mean, std).log_prob(raw) - torch.log(1 - action**2)
    return action, log_prob.sum(1)


def smaller_q(critic: Parameters, obs: Tensor, action: Tensor, task: int) -> Tensor:
    rows = torch.cat([obs, action], 1)
    both = [network(critic, rows, task, member).squeeze(1) for member in (0, 1)]
    return torch.minimum(*both)


# ---------------------------------------------------------------------------------- one update of SAC


class Adam:
    def __init__(self, lr: float) -> None:
        self.lr, self.t = lr, 0
        self.moments: dict[str, tuple[Tensor, Tensor]] = {}

    def step(self, p: Parameters, gradient: Parameters) -> None:
        self.t += 1
        for name, g in gradient.items():
            first, second = self.moments.get(name, (torch.zeros_like(g), torch.zeros_like(g)))
            first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g**2
            self.moments[name] = first, second
            mean, square = first / (1 - 0.9**self.t), second / (1 - 0.999**self.t)
            p[name] = p[name] - self.lr * mean / (square.sqrt() + SAC.adam_eps)


class Reference:
    """Two tasks, every term written out."""

    def __init__(self, agent: MultiTaskSAC, direction: Direction, clip: str, shared: bool) -> None:
        self.actor, self.critic, self.target = (
            copy_of(part) for part in (agent.actor, agent.critic, agent.target)
        )
        self.log_alpha = {"log_alpha": torch.full((1 if shared else M,), math.log(0.3))}
        self.noise = torch.Generator()
        self.noise.set_state(agent.noise_rng.get_state())
        self.direction, self.clip, self.shared = direction, clip, shared
        self.adam = {"critic": Adam(0.01), "actor": Adam(0.02), "temperature": Adam(0.05)}
        self.factors: list[float] = []
        # The best-paid task keeps the reward factor; the other is lifted to its mean.
        self.reward_scale = [2.0 * 2.0 / 0.5, 2.0]

    def update(self, batch: Batch) -> None:
        alpha = self.log_alpha["log_alpha"].exp().expand(M)
        noise = torch.randn(M, B, ACTION, generator=self.noise)
        targets = []
        for i in range(M):
            action, log_prob = act(self.actor, batch.next_obs[i], noise[i], i)
            value = smaller_q(self.target, batch.next_obs[i], action, i) - alpha[i] * log_prob
            targets.append(self.reward_scale[i] * batch.reward[i] + batch.discount[i] * value)

        def critic_loss(p: Parameters, i: int) -> Tensor:
            rows = torch.cat([batch.obs[i], batch.action[i]], 1)
            errors = [(network(p, rows, i, k).squeeze(1) - targets[i]) ** 2 for k in (0, 1)]
            return (errors[0].mean() + errors[1].mean()) / 2

        self.descend("critic", self.critic, critic_loss)

        noise = torch.randn(M, B, ACTION, generator=self.noise)
        entropy = torch.zeros(M)

        def actor_loss(p: Parameters, i: int) -> Tensor:
            action, log_prob = act(p, batch.obs[i], noise[i], i)
            entropy[i] = -log_prob.mean().detach()
            return (alpha[i] * log_prob - smaller_q(self.critic, batch.obs[i], action, i)).mean()

        self.descend("actor", self.actor, actor_loss)

        # Of -log(alpha) E[log pi + target entropy], in log(alpha).
        gradient = entropy - (-1.5)
        if self.shared:
            gradient = gradient.sum(0, keepdim=True)
        self.adam["temperature"].step(self.log_alpha, {"log_alpha": gradient})
        for name, value in self.critic.items():
            self.target[name] = 0.97 * self.target[name] + 0.03 * value

    def descend(self, part: str, p: Parameters, loss: Callable[[Parameters, int], Tensor]) -> None:
        """Trunk by the method's direction, heads by their own task's gradient; clip; Adam."""
        names = list(p)
        leaves = {name: value.detach().requires_grad_() for name, value in p.items()}
        rows = []
        for i in range(M):
            grads = torch.autograd.grad(loss(leaves, i), list(leaves.values()))
            rows.append(dict(zip(names, grads, strict=True)))
        trunk = [name for name in names if name.startswith("trunk.")]
        flat = [torch.cat([row[name].flatten() for name in trunk]) for row in rows]
        pieces = self.direction(flat).split([p[name].numel() for name in trunk])
        gradient = {n: piece.view_as(p[n]) for n, piece in zip(trunk, pieces, strict=True)}
        heads = [name for name in names if name not in gradient]
        gradient |= {name: rows[0][name] + rows[1][name] for name in heads}

        groups = [names] if self.clip == "joint" else [trunk, heads]
        for group in groups:
            norm = torch.cat([gradient[name].flatten() for name in group]).norm().item()
            factor = min(1.0, SAC.max_grad_norm / (norm + 1e-6))
            self.factors.append(factor)
            gradient |= {name: factor * gradient[name] for name in group}
        self.adam[part].step(p, gradient)


def copy_of(part: Architecture) -> Parameters:
    return {name: value.detach().clone() for name, value in part.named_parameters()}


def total(rows: list[Tensor]) -> Tensor:
    return rows[0] + rows[1]


def pcgrad(rows: list[Tensor]) -> Tensor:
    """Of two tasks: where they conflict, each without its part along the other."""
    a, b = rows
    along = torch.clamp(a @ b, max=0.0)
    return (a - along / (b @ b) * b) + (b - along / (a @ a) * a)


DIRECTIONS: dict[str, Direction] = {"ls": total, "pcgrad": pcgrad}


# ----------------------------------------------------------------------------------------- comparison


def make_agent(method: str, clip: str, temperature: str) -> MultiTaskSAC:
    sac: dict[str, Any] = {**SAC.__dict__, "temperature": temperature}
    agent = MultiTaskSAC(
        M,
        OBS,
        ACTION,
        networks=NETWORKS,
        sac=SACConfig(**sac),
        balancing=BalancingConfig(clip=clip),  # type: ignore[arg-type]
        method=method,
    )
    agent.set_reward_scale(MEANS)
    generator = torch.Generator().manual_seed(0)
    for part in (agent.actor, agent.critic, agent.target):  # the targets are no copy of the critics
        for parameter in part.parameters():
            parameter.data.copy_(0.5 * torch.randn(parameter.shape, generator=generator))
    return agent


def make_batch(step: int) -> Batch:
    generator = torch.Generator().manual_seed(10 + step)

    def draw(*shape: int) -> Tensor:
        return torch.randn(M, B, *shape, generator=generator)

    ends = torch.rand(M, B, generator=generator) < 0.2
    discount = torch.where(ends, 0.0, 0.5 + 0.4 * torch.rand(M, B, generator=generator))
    # Small errors at one step, large ones at the next: the bound holds only at some of them.
    return Batch(draw(OBS), draw(ACTION).tanh(), 0.6 * 4**step * draw(), draw(OBS), discount)


@pytest.mark.parametrize("temperature", ["per_task", "shared"])
@pytest.mark.parametrize("clip", ["separate", "joint"])
@pytest.mark.parametrize("method", DIRECTIONS)
def test_three_updates_are_those_written_out(method: str, clip: str, temperature: str) -> None:
    agent = make_agent(method, clip, temperature)
    reference = Reference(agent, DIRECTIONS[method], clip, temperature == "shared")
    for step in range(3):
        batch = make_batch(step)
        agent.update(batch)
        reference.update(batch)
        for part in ("critic", "actor", "target"):
            expected = getattr(reference, part)
            for name, found in getattr(agent, part).named_parameters():
                close(found, expected[name], f"step {step}, {part}, {name}")
        close(agent.log_alpha, reference.log_alpha["log_alpha"], f"step {step}, temperature")
    clipped = [factor < 1.0 for factor in reference.factors]
    assert any(clipped) and not all(clipped), (
        "the bound should hold at some steps and not at others"
    )


def close(found: Tensor, expected: Tensor, place: str) -> None:
    torch.testing.assert_close(
        found.detach(), expected, rtol=1e-6, atol=1e-12, msg=lambda text: f"{place}: {text}"
    )
