"""Losses against numbers worked by hand; one loss per task."""

from __future__ import annotations

import torch

from mtrl.rl.learning.losses import (
    actor_losses,
    critic_losses,
    critic_targets,
    temperature_gradient,
)

T = torch.tensor


def test_targets_bootstrap_from_the_smaller_critic() -> None:
    next_q = T([[[10.0]], [[8.0]]])  # [e=2, m=1, b=1]
    target = critic_targets(T([[1.0]]), T([[0.5]]), next_q, T([[-2.0]]), T([[0.25]]))
    assert target.item() == 1.0 + 0.5 * (8.0 + 0.25 * 2.0)
    assert critic_targets(T([[1.0]]), T([[0.0]]), next_q, T([[-2.0]]), T([[0.25]])).item() == 1.0


def test_critic_losses_are_means_over_samples_and_critics() -> None:
    q = T([[[1.0, 3.0], [0.0, 0.0]], [[1.0, 1.0], [2.0, 2.0]]])  # [e, m, b]
    assert critic_losses(q, T([[1.0, 1.0], [1.0, 1.0]])).tolist() == [1.0, 1.0]


def test_actor_losses() -> None:
    q = T([[[1.0, 5.0]], [[2.0, 4.0]]])
    assert actor_losses(q, T([[2.0, -2.0]]), T([[0.5]])).tolist() == [((1 - 1) + (-1 - 4)) / 2]


def test_temperature_rises_where_entropy_is_below_its_target() -> None:
    log_prob, target = T([[5.0, 5.0], [-3.0, -3.0]]), -4.0
    gradient = temperature_gradient(-log_prob.mean(-1), target)
    assert gradient.tolist() == [-1.0, 7.0]  # descent raises the first, lowers the second
    log_alpha = torch.zeros(2, requires_grad=True)
    loss = (-log_alpha * (log_prob + target).mean(-1)).sum()
    assert torch.equal(torch.autograd.grad(loss, log_alpha)[0], gradient)
