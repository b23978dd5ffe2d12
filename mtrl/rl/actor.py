"""The acting side of the policy: the actor network on the CPU, and its weights as one vector."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtrl.networks import TaskNetwork, squash_log_std
from mtrl.rl.config import NetworkConfig


def build_actor(
    num_tasks: int, obs_dim: int, action_dim: int, config: NetworkConfig
) -> TaskNetwork:
    """The policy network: `[m, b, obs] -> [m, b, 2 action]` (mean and log standard deviation)."""
    return TaskNetwork(
        num_tasks,
        obs_dim,
        2 * action_dim,
        config.actor,
        layer_norm=config.actor_layer_norm,
        task_one_hot=config.task_one_hot,
        heads=config.heads,
        head_init=1e-3,
    )


def flat_weights(actor: TaskNetwork) -> NDArray[np.float32]:
    """All parameters as one float32 vector on the host: what is published to workers."""
    vector = torch.cat([p.detach().flatten() for p in actor.parameters()])
    return vector.cpu().numpy().astype(np.float32, copy=True)


class ActingPolicy:
    """The actor for rollouts: batched, one row per task, one thread, no gradients.

    Args:
        actor: the network; its parameters are overwritten by :meth:`load`.
        config: for the bounds of the log standard deviation.
    """

    def __init__(self, actor: TaskNetwork, config: NetworkConfig) -> None:
        self.actor = actor.requires_grad_(False).eval()
        self.config = config
        self.version = 0

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
        self.version = version

    def act(
        self, obs: NDArray[np.float32], noise: NDArray[np.float32] | None
    ) -> NDArray[np.float32]:
        """Actions for one row per task, `[m, obs] -> [m, action]`; `noise=None` is deterministic."""
        with torch.inference_mode():
            output: Tensor = self.actor(torch.from_numpy(obs)[:, None])[:, 0]
            mean, log_std = output.chunk(2, dim=-1)
            if noise is not None:
                bounded = squash_log_std(log_std, self.config.log_std_min, self.config.log_std_max)
                mean = mean + bounded.exp() * torch.from_numpy(noise)
            return torch.tanh(mean).numpy()
