"""The acting side of the policy: the actor network on the CPU, and its weights as one vector."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from mtrl.envs import TaskSet
from mtrl.networks import Architecture, build_architecture
from mtrl.rl.config import NetworkConfig


def build_actor(
    num_tasks: int,
    obs_dim: int,
    action_dim: int,
    config: NetworkConfig,
    *,
    product_dtype: torch.dtype | None = None,
) -> Architecture:
    """The policy network: `[m, b, obs] -> [m, b, 2 action]` (mean and log standard deviation)."""
    return build_architecture(
        config.architecture,
        num_tasks,
        obs_dim,
        2 * action_dim,
        config.actor,
        options=config.architecture_options,
        layer_norm=config.actor_layer_norm,
        task_one_hot=config.task_one_hot,
        head_init=1e-3,
        product_dtype=product_dtype,
    )


def flat_weights(actor: Architecture) -> NDArray[np.float32]:
    """All parameters as one float32 vector on the host: what is published to workers."""
    vector = torch.cat([p.detach().flatten() for p in actor.parameters()])
    return vector.cpu().numpy().astype(np.float32, copy=True)


class ActingPolicy:
    """The actor for rollouts: batched, one thread, no gradients.

    Args:
        actor: the network; its parameters are overwritten by :meth:`load`.
        config: for the bounds of the log standard deviation.
        rows_per_task: e, rows of each task in every call.
    """

    def __init__(
        self, actor: Architecture, config: NetworkConfig, *, rows_per_task: int = 1
    ) -> None:
        self.actor = actor.requires_grad_(False).eval()
        self.config = config
        self.rows_per_task = rows_per_task
        self.version = 0
        self._forward = actor.acting(rows_per_task)

    def load(self, weights: NDArray[np.float32], version: int) -> None:
        """Take published weights; nothing is copied when the version is already here."""
        if version == self.version:
            return
        vector = torch.from_numpy(np.array(weights))  # Ray's arrays are read-only
        expected = sum(p.numel() for p in self.actor.parameters())
        if len(vector) != expected:
            raise ValueError(
                f"Policy weights should have {expected} numbers. Found {len(vector)}. The sender's"
                " networks differ from this worker's."
            )
        torch.nn.utils.vector_to_parameters(vector, self.actor.parameters())
        self._forward = self.actor.acting(self.rows_per_task)
        self.version = version

    def act(
        self, obs: NDArray[np.float32], noise: NDArray[np.float32] | None
    ) -> NDArray[np.float32]:
        """Actions, `[m e, obs] -> [m e, action]`, row i for task i // e; deterministic without noise."""
        mean, log_std = np.split(self._forward(obs), 2, axis=1)
        if noise is not None:
            low, high = self.config.log_std_min, self.config.log_std_max
            mean = mean + np.exp(np.minimum(np.maximum(log_std, low), high)) * noise
        return np.tanh(mean)


def acting_policy(tasks: TaskSet, networks: NetworkConfig, rows_per_task: int = 1) -> ActingPolicy:
    """A policy for acting; its weights arrive later."""
    actor = build_actor(len(tasks), tasks.obs_dim, tasks.action_dim, networks)
    policy = ActingPolicy(actor, networks, rows_per_task=rows_per_task)
    policy.version = -1  # nothing published yet, not even version 0
    return policy
