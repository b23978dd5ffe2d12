"""The agent: exact task gradients, updates that move what they should, NaN, state, schedules."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mtrl.balancing import METHODS, Balancer, build, task_gradients
from mtrl.balancing.base import Needs
from mtrl.networks import sample_squashed
from mtrl.networks.multi_head import MultiHead
from mtrl.networks.single_head import SingleHead
from mtrl.rl.config import SACConfig
from mtrl.rl.learning.losses import critic_losses
from tests.helpers import make_agent, make_batch

PERFORMANCE = torch.tensor([0.1, 0.9, float("nan")])


def flat(module: torch.nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()]).clone()


@pytest.mark.parametrize("layer_norm", [False, True])
def test_task_gradients_equal_separate_backward_passes(layer_norm: bool) -> None:
    torch.manual_seed(0)
    critic = MultiHead(3, 6, 1, [12, 10], members=2, layer_norm=layer_norm).double()
    rows, target = torch.randn(3, 7, 6).double(), torch.randn(3, 7).double()

    def losses(shared):
        return critic_losses(critic(rows, shared).squeeze(-1), target), None

    shared, heads = critic.shared_parameters(), list(critic.head_parameters().values())
    _, _, gradients, head_grads = task_gradients(losses, shared, heads, 3)
    for i in range(3):
        loss = losses(None)[0][i]
        expected = torch.autograd.grad(loss, [*shared.values(), *heads])
        for block, wanted in zip(gradients.blocks, expected, strict=False):
            scale = wanted.abs().max().clamp_min(1e-30)
            assert (block[i] - wanted).abs().max() <= 1e-12 * scale
        for grad, wanted in zip(head_grads, expected[len(shared) :], strict=True):
            assert torch.allclose(grad[:, i], wanted[:, i], rtol=1e-12, atol=0)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_both_paths_give_adam_the_same_step(layer_norm: bool) -> None:
    """The gradient path with unit weights is the loss path, down to the optimiser's step.

    A fused Adam reads gradients in memory order: with transposed ones this fails.
    """

    class Ones(METHODS["ls"]):  # type: ignore[misc, name-defined]
        needs = Needs.GRAMIAN

    results = []
    for method in (METHODS["ls"](3, 10), Ones(3, 10)):
        torch.manual_seed(0)
        network = MultiHead(3, 6, 1, [12, 10], layer_norm=layer_norm)
        rows = torch.randn(3, 7, 6)
        balancer = Balancer(
            method,
            network.shared_parameters(),
            network.head_parameters(),
            max_norm=1.0,
            head_task_dim=network.head_task_dim,
        )
        optimizer = torch.optim.Adam(network.parameters(), lr=0.1, eps=1.0, fused=True)

        def losses(shared, network=network, rows=rows):
            return network(rows, shared).square().mean((0, 2, 3)), None

        for _ in range(3):
            balancer.backward(losses)
            optimizer.step()
        results.append(flat(network))
    assert torch.allclose(*results, rtol=1e-5, atol=1e-6)


def test_log_probabilities_are_those_of_the_distribution() -> None:
    from torch.distributions import Independent, Normal, TanhTransform, TransformedDistribution

    torch.manual_seed(0)
    mean, log_std = torch.randn(5, 3).double(), torch.randn(5, 3).double() * 0.3
    action, log_prob = sample_squashed(mean, log_std, torch.randn(5, 3).double())
    base = TransformedDistribution(Normal(mean, log_std.exp()), [TanhTransform()])
    assert torch.allclose(log_prob, Independent(base, 1).log_prob(action), rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_an_update_moves_everything(method: str) -> None:
    agent = make_agent(method)
    before = [flat(m) for m in (agent.actor, agent.critic, agent.target)]
    alpha = agent.log_alpha.detach().clone()
    update = agent.update(make_batch(), PERFORMANCE)
    assert bool(update.finite)
    for module, old in zip((agent.actor, agent.critic, agent.target), before, strict=True):
        assert torch.isfinite(flat(module)).all()
        assert not torch.equal(flat(module), old)
    assert (agent.log_alpha != alpha).all()
    assert update.metrics["critic/losses"].shape == (3,)
    assert update.steps["critic"].losses.shape == (3,)


@pytest.mark.parametrize("method", METHODS)
def test_a_loss_that_is_not_finite_changes_nothing(method: str) -> None:
    agent = make_agent(method)
    agent.update(make_batch(), PERFORMANCE)
    modules = (agent.actor, agent.critic, agent.target)
    before, alpha = [flat(m) for m in modules], agent.log_alpha.detach().clone()
    batch = make_batch(seed=1)
    batch.reward[1, 0] = float("nan")
    batch.obs[1, 0] = float("nan")
    update = agent.update(batch, PERFORMANCE, diagnose=True)
    assert not bool(update.finite)
    assert bool(update.masked)
    for module, old in zip(modules, before, strict=True):
        assert torch.equal(flat(module), old)
    assert torch.equal(agent.log_alpha, alpha)
    assert bool(agent.update(make_batch(seed=2), PERFORMANCE).finite)


@pytest.mark.parametrize("method", METHODS)
def test_a_restored_agent_continues_bit_for_bit(method: str) -> None:
    straight, first = make_agent(method), make_agent(method)
    for i in range(6):
        straight.update(make_batch(seed=i), PERFORMANCE)
        if i < 3:
            first.update(make_batch(seed=i), PERFORMANCE)
    second = make_agent(method, seed=99)
    second.load_state_dict(first.state_dict())
    for i in range(3, 6):
        second.update(make_batch(seed=i), PERFORMANCE)
    for part in ("actor", "critic", "target"):
        assert torch.equal(flat(getattr(straight, part)), flat(getattr(second, part))), part
    assert torch.equal(straight.log_alpha, second.log_alpha)


def test_critic_and_actor_have_a_state_of_their_own() -> None:
    agent = make_agent("sam_gs")
    agent.update(make_batch())
    critic, actor = (agent.balancers[part].method.state_dict() for part in ("critic", "actor"))
    assert critic["moments"].shape[1] == sum(
        p.numel() for p in agent.critic.shared_parameters().values()
    )
    assert critic["steps"] == actor["steps"] == 1


def test_the_target_moves_by_tau() -> None:
    agent = make_agent(sac=SACConfig(tau=0.25))
    old = flat(agent.target)
    agent.update(make_batch())
    assert torch.allclose(flat(agent.target), old + 0.25 * (flat(agent.critic) - old), atol=1e-7)


def test_actor_interval_and_temperature_floor() -> None:
    agent = make_agent(
        sac=SACConfig(actor_interval=2, min_temperature=0.5, initial_temperature=0.5)
    )
    agent.update(make_batch(), actor=agent.actor_due(0))
    actor = flat(agent.actor)
    agent.update(make_batch(seed=1), actor=agent.actor_due(1))
    assert torch.equal(flat(agent.actor), actor)
    agent.update(make_batch(seed=2), actor=agent.actor_due(2))
    assert not torch.equal(flat(agent.actor), actor)
    assert (agent.log_alpha.exp() >= 0.5 - 1e-6).all()


def test_mean_reward_scaling() -> None:
    agent = make_agent(sac=SACConfig(reward_scaling="mean"))
    agent.set_reward_scale(torch.tensor([2.0, 0.5, 0.0]))
    assert torch.allclose(agent.reward_scale, torch.tensor([[1.0], [4.0], [200.0]]))
    off = make_agent()
    off.set_reward_scale(torch.tensor([2.0, 0.5, 0.0]))
    assert torch.equal(off.reward_scale, torch.ones(3, 1))


def test_a_reset_draws_new_networks_and_keeps_the_method_s_state() -> None:
    agent = make_agent("sam_gs")
    agent.update(make_batch())
    old, seen = flat(agent.critic), agent.balancers["critic"].method.state_dict()["steps"].clone()
    agent.reset_networks()
    assert not torch.equal(flat(agent.critic), old)
    assert torch.equal(flat(agent.critic), flat(agent.target))
    assert agent.balancers["critic"].method.state_dict()["steps"] == seen


def test_after_a_reset_an_agent_learns_like_a_new_one() -> None:
    """Networks, temperatures, Adam's moments and its count of steps all begin again."""
    sac = SACConfig(initial_temperature=0.3)
    agent = make_agent(sac=sac)
    for i in range(3):
        agent.update(make_batch(seed=i))
    agent.reset_networks()
    fresh = make_agent(sac=sac)
    fresh.load_networks(agent.state_dict())
    assert torch.allclose(agent.log_alpha.exp(), torch.tensor(0.3))
    fresh.noise_rng.set_state(agent.noise_rng.get_state())
    for i in range(3, 6):
        agent.update(make_batch(seed=i))
        fresh.update(make_batch(seed=i))
    for part in ("actor", "critic", "target"):
        assert torch.equal(flat(getattr(agent, part)), flat(getattr(fresh, part))), part
    assert torch.equal(agent.log_alpha, fresh.log_alpha)


def test_initialisation_depends_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    one = make_agent(seed=5)
    torch.manual_seed(2)
    assert torch.equal(flat(make_agent(seed=5).actor), flat(one.actor))
    assert not torch.equal(flat(make_agent(seed=6).actor), flat(one.actor))


def test_a_shared_head_counts_as_shared() -> None:
    network = SingleHead(3, 4, 2, [8], task_one_hot=False)
    assert network.head_parameters() == {}
    assert sum(p.numel() for p in network.shared_parameters().values()) == 4 * 8 + 8 + 8 * 2 + 2
    rows = torch.randn(3, 5, 4)
    assert torch.equal(network(rows)[0, 1], network(rows.roll(1, 0))[0, 2]), "no task input"


def test_head_scaling_by_weights() -> None:
    torch.manual_seed(0)
    network = MultiHead(2, 3, 1, [4])
    rows = torch.randn(2, 5, 3)
    shared = sum(p.numel() for p in network.shared_parameters().values())
    grads = {}
    for scaling in ("unit", "weights"):
        balancer = Balancer(
            build("pivrg", 2, shared),
            network.shared_parameters(),
            network.head_parameters(),
            head_task_dim=network.head_task_dim,
            head_scaling=scaling,  # type: ignore[arg-type]
        )
        step = balancer.backward(
            lambda shared: (network(rows, shared).square().mean((0, 2, 3)), None),
            torch.tensor([0.2, 0.8]),
        )
        assert network.head_weight is not None
        assert network.head_weight.grad is not None
        grads[scaling] = network.head_weight.grad.clone(), step.weights
    unit, (scaled, weights) = grads["unit"][0], grads["weights"]
    assert weights is not None
    assert torch.allclose(scaled, unit * weights.float()[None, :, None, None], rtol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_diagnostics_measure_and_change_nothing(method: str) -> None:
    plain, diagnosed = make_agent(method), make_agent(method)
    for i in range(3):
        plain.update(make_batch(seed=i), PERFORMANCE)
        update = diagnosed.update(make_batch(seed=i), PERFORMANCE, diagnose=True)
    assert torch.equal(flat(plain.critic), flat(diagnosed.critic))
    assert torch.equal(flat(plain.actor), flat(diagnosed.actor))
    metrics = update.metrics
    for part in ("critic", "actor"):
        gramian = update.steps[part].gramian
        assert gramian is not None
        assert gramian.shape == (3, 3)
        for fact in ("cos_to_mean", "conflict", "condition_number", "update_angles", "common_descent",
                     "mer_balance", "proximity", "raw_conflict", "raw_mer_balance"):  # fmt: skip
            assert torch.isfinite(metrics[f"{part}/{fact}"]).all(), fact
        assert (f"{part}/omega_square" in metrics) == (f"{part}/omega" in metrics)
        assert (
            (metrics[f"{part}/update_angles"] >= 0) & (metrics[f"{part}/update_angles"] <= 180)
        ).all()


def test_the_plain_sum_is_measured_right() -> None:
    """Angles and the Gramian of the loss path against gradients taken one task at a time."""
    agent, batch = make_agent(), make_batch()
    rows, target = torch.cat([batch.obs, batch.action], -1), torch.randn(3, 8)

    def losses(shared):
        return critic_losses(agent.critic(rows, shared).squeeze(-1), target), None

    balancer = agent.balancers["critic"]
    shared = list(agent.critic.shared_parameters().values())
    singles = [torch.autograd.grad(losses(None)[0][i], shared) for i in range(3)]
    jacobian = torch.stack([torch.cat([g.flatten() for g in row]) for row in singles])
    step = balancer.backward(losses, diagnose=True)
    assert step.gramian is not None
    assert torch.allclose(step.gramian.float(), jacobian @ jacobian.T, rtol=1e-4)
    cosine = torch.nn.functional.cosine_similarity(jacobian, jacobian.sum(0), dim=1)
    expected = torch.rad2deg(torch.acos(cosine)).double()
    assert torch.allclose(step.metrics["update_angles"], expected, atol=0.1)
