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
        self._layers = _layers(actor, rows_per_task)

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
        self._layers = _layers(self.actor, self.rows_per_task)
        self.version = version

    def act(
        self, obs: NDArray[np.float32], noise: NDArray[np.float32] | None
    ) -> NDArray[np.float32]:
        """Actions, `[m e, obs] -> [m e, action]`, row i for task i // e; deterministic without noise."""
        # Every call counts here: between two of these the simulator has emptied the caches. No
        # parameter requires a gradient, so no mode has to be entered; numpy's calls on ten rows
        # cost a third of torch's.
        rows = torch.from_numpy(obs)
        for layer in self._layers:
            rows = layer(rows)
        output = rows.numpy()
        actions = output.shape[1] // 2
        mean = output[:, :actions]
        if noise is not None:
            low, high = self.config.log_std_min, self.config.log_std_max
            log_std = np.minimum(np.maximum(output[:, actions:], low), high)
            mean = mean + np.exp(log_std) * noise
        return np.tanh(mean)


def _layers(actor: TaskNetwork, rows_per_task: int) -> list[Callable[[Tensor], Tensor]]:
    """The network as few operations on task-major rows, `[m e, obs] -> [m e, 2 action]`.

    The first layer's rows of the one-hot become a bias per row. Layers write where they wrote before;
    fresh memory costs a twentieth more between two steps of the simulators.
    """
    layers: list[Callable[[Tensor], Tensor]] = []
    trunk, m = actor.trunk, actor.num_tasks
    values = {name: value.detach()[0] for name, value in trunk.named_parameters()}
    for i in range(trunk.depth):
        weight, bias = values[f"weight_{i}"], values[f"bias_{i}"]
        if i == 0 and actor.task_one_hot:
            bias = (bias + weight[-m:]).repeat_interleave(rows_per_task, 0)
            weight = weight[:-m]
        out = torch.empty(m * rows_per_task, weight.shape[1])
        layers.append(partial(_affine, weight, bias, out))
        if i < trunk.hidden:
            if trunk.layer_norm:
                layers.append(partial(_normalise, values[f"scale_{i}"][0], values[f"shift_{i}"][0]))
            layers.append(torch.relu_)
    if actor.head_weight is not None and actor.head_bias is not None:
        weight, bias = actor.head_weight.detach()[0], actor.head_bias.detach()[0]
        out = torch.empty(m, rows_per_task, weight.shape[2])
        layers.append(partial(_heads, weight, bias, out))
    return layers


def _affine(weight: Tensor, bias: Tensor, out: Tensor, rows: Tensor) -> Tensor:
    return torch.addmm(bias, rows, weight, out=out)


def _normalise(scale: Tensor, shift: Tensor, rows: Tensor) -> Tensor:
    return F.layer_norm(rows, scale.shape, scale, shift)


def _heads(weight: Tensor, bias: Tensor, out: Tensor, rows: Tensor) -> Tensor:
    task_major = rows.view(*out.shape[:2], rows.shape[1])
    return torch.baddbmm(bias, task_major, weight, out=out).flatten(0, 1)
