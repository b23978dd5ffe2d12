"""Makes the parts of the agent: critics, balancers, optimisers. Names the actor's method."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from mtrl.balancing import Balancer, build, needs_positive_losses
from mtrl.balancing.balancer import Clock
from mtrl.networks import Architecture, build_architecture
from mtrl.rl.config import BalancingConfig, NetworkConfig


def build_critic(
    num_tasks: int,
    obs_dim: int,
    action_dim: int,
    networks: NetworkConfig,
    *,
    product_dtype: torch.dtype | None = None,
) -> Architecture:
    """A pair of critics: observation and action to the values `[2, m, b, 1]`.

    Args:
        num_tasks: m.
        obs_dim: of one task's observations.
        action_dim: of one task's actions.
        networks: widths and architecture.
        product_dtype: of the trunk's products; None is that of the parameters.
    """
    return build_architecture(
        networks.architecture,
        num_tasks,
        obs_dim + action_dim,
        1,
        networks.critic,
        options=networks.architecture_options,
        members=2,
        layer_norm=networks.critic_layer_norm,
        task_one_hot=networks.task_one_hot,
        product_dtype=product_dtype,
    )


def build_balancer(
    network: Architecture,
    num_tasks: int,
    method: str,
    options: Mapping[str, object],
    config: BalancingConfig,
    *,
    max_grad_norm: float,
    device: torch.device,
    seed: int,
    clock: Clock = contextlib.nullcontext,
) -> Balancer:
    """A balancer for a network. Its method has a state that no other balancer shares.

    Args:
        network: its parameters take the gradients.
        num_tasks: m.
        method: name of the balancing method.
        options: of the method.
        config: what surrounds the method.
        max_grad_norm: bound on the gradient; 0 is none.
        device: of the method's state.
        seed: of the method.
        clock: see `Balancer`.
    """
    shared = network.shared_parameters()
    num_shared = sum(p.numel() for p in shared.values())
    return Balancer(
        build(method, num_tasks, num_shared, seed=seed, **options).to(device),
        shared,
        network.head_parameters(),
        max_norm=max_grad_norm or None,
        clip=config.clip,
        head_scaling=config.head_scaling,
        head_task_dim=network.head_task_dim,
        clock=clock,
    )


def build_adam(
    parameters: Sequence[nn.Parameter], lr: float, eps: float, device: torch.device
) -> torch.optim.Adam:
    """A fused Adam; on a GPU its count of steps lies there, so that a captured update can advance it."""
    on_gpu = device.type == "cuda"
    if on_gpu:  # the first updates are not captured, and torch advises against that
        message = "This instance was constructed with capturable=True"
        warnings.filterwarnings("ignore", message=message)
    return torch.optim.Adam(list(parameters), lr=lr, eps=eps, fused=True, capturable=on_gpu)


def actor_method(method: str, options: Mapping[str, object], config: BalancingConfig) -> str:
    """The balancing method of the actor, whose losses may be negative.

    Raises:
        ValueError: the configuration asks for a method that takes logarithms or ratios of losses.
    """
    if config.actor_method == "same":
        return "ls" if needs_positive_losses(method, options) else method
    if needs_positive_losses(config.actor_method, {}):
        raise ValueError(
            f"`balancing.actor_method` is {config.actor_method!r}, which takes logarithms or ratios of"
            " losses; the actor's losses are negative at times. Use another method, or `same`."
        )
    return config.actor_method
