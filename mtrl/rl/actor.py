"""The acting side of the policy: the actor network on the CPU, and its weights as one vector."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from mtrl.networks import TaskNetwork
from mtrl.rl.config import NetworkConfig


def build_actor(
    num_tasks: int,
    obs_dim: int,
    action_dim: int,
    config: NetworkConfig,
    *,
    product_dtype: torch.dtype | None = None,
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
        product_dtype=product_dtype,
    )


def flat_weights(actor: TaskNetwork) -> NDArray[np.float32]:
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
        self, actor: TaskNetwork, config: NetworkConfig, *, rows_per_task: int = 1
    ) -> None:
        self.actor = actor.requires_grad_(False).eval()
        self.config = config
        self.rows_per_task = rows_per_task
        self.version = 0
        self._forward = _Forward(actor, rows_per_task)

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
        self._forward = _Forward(self.actor, self.rows_per_task)
        self.version = version

    def act(
        self, obs: NDArray[np.float32], noise: NDArray[np.float32] | None
    ) -> NDArray[np.float32]:
        """Actions, `[m e, obs] -> [m e, action]`, row i for task i // e; deterministic without noise."""
        mean, log_std = self._forward(obs)
        if noise is not None:
            low, high = self.config.log_std_min, self.config.log_std_max
            mean = mean + np.exp(np.minimum(np.maximum(log_std, low), high)) * noise
        return np.tanh(mean)


class _Forward:
    """The network as few operations on task-major rows, `[m e, obs] -> 2 x [m e, action]`.

    Between two of these the simulators have emptied the caches, so that every call counts, and torch's
    most: memory is given out once and numpy's views of it are taken once. No parameter requires a
    gradient, so no mode has to be entered. The first layer's rows of the one-hot become a bias per row.
    """

    def __init__(self, actor: TaskNetwork, rows_per_task: int) -> None:
        self._calls: list[Callable[[], object]] = []
        trunk, m, e = actor.trunk, actor.num_tasks, rows_per_task
        values = {name: value.detach()[0] for name, value in trunk.named_parameters()}
        weight, bias = values["weight_0"], values["bias_0"]
        if actor.task_one_hot:
            weight, bias = weight[:-m], (bias + weight[-m:]).repeat_interleave(e, 0)
        rows = torch.empty(m * e, len(weight))
        self._obs = rows.numpy()
        for i in range(trunk.depth):
            if i:
                weight, bias = values[f"weight_{i}"], values[f"bias_{i}"]
            out = torch.empty(m * e, weight.shape[1])
            self._calls.append(partial(torch.addmm, bias, rows, weight, out=out))
            if i < trunk.hidden:
                if trunk.layer_norm:
                    scale, shift = values[f"scale_{i}"][0], values[f"shift_{i}"][0]
                    self._calls.append(partial(_normalise, scale, shift, out))
                self._calls.append(partial(torch.relu_, out))
            rows = out
        if actor.head_weight is not None and actor.head_bias is not None:
            weight, bias = actor.head_weight.detach()[0], actor.head_bias.detach()[0]
            out = torch.empty(m, e, weight.shape[2])
            self._calls.append(partial(torch.baddbmm, bias, rows.view(m, e, -1), weight, out=out))
            rows = out.flatten(0, 1)
        self._mean, self._log_std = np.split(rows.numpy(), 2, axis=1)

    def __call__(self, obs: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Mean and log standard deviation; the next call overwrites them."""
        self._obs[:] = obs
        for call in self._calls:
            call()
        return self._mean, self._log_std


def _normalise(scale: Tensor, shift: Tensor, rows: Tensor) -> None:
    rows.copy_(F.layer_norm(rows, scale.shape, scale, shift))
