"""A fast forward pass for workers: a fully connected trunk and one linear head per task."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from mtrl.networks.architecture import Acting
from mtrl.networks.trunk import Layer, Trunk


def trunk_acting(
    trunk: Trunk,
    num_tasks: int,
    rows_per_task: int,
    task_one_hot: bool,
    heads: tuple[Tensor, ...],
) -> Acting:
    """The first member's trunk and the heads, with as few torch calls as possible.

    A worker calls the policy once per environment step. Simulators evict the CPU's caches between two
    calls, so the number of torch calls matters most. Buffers are allocated once, here. The product of
    the one-hot and the first weight becomes a bias for each row.

    Args:
        trunk: its parameters are read at this call; later changes of them need a new call.
        num_tasks: m.
        rows_per_task: r.
        task_one_hot: whether the last m inputs of the trunk are the task's one-hot.
        heads: weight `[m, width, out]` and bias `[m, 1, out]`.

    Returns:
        A function `[m r, in] -> [m r, out]`; the next call overwrites the result.
    """
    m, r = num_tasks, rows_per_task
    layers = [layer for layer in trunk.layers if isinstance(layer, Layer)]
    weights = [layer.linear.weight.detach()[0] for layer in layers]
    biases = [layer.linear.bias.detach()[0] for layer in layers]
    if task_one_hot:
        biases[0] = (biases[0] + weights[0][-m:]).repeat_interleave(r, 0)
        weights[0] = weights[0][:-m]

    calls: list[Callable[[], object]] = []
    rows = inputs = torch.empty(m * r, len(weights[0]))
    for layer, weight, bias in zip(layers, weights, biases, strict=True):
        out = torch.empty(m * r, weight.shape[1])
        calls.append(partial(torch.addmm, bias, rows, weight, out=out))
        if layer.norm is not None:
            scale, shift = layer.norm.scale.detach()[0, 0], layer.norm.shift.detach()[0, 0]
            calls.append(partial(_normalise, scale, shift, out))
        calls.append(partial(torch.relu_, out))
        rows = out
    weight, bias = heads
    outputs = torch.empty(m, r, weight.shape[2])
    calls.append(partial(torch.baddbmm, bias, rows.view(m, r, -1), weight, out=outputs))
    inputs_view, outputs_view = inputs.numpy(), outputs.flatten(0, 1).numpy()

    def act(obs: NDArray) -> NDArray:
        inputs_view[:] = obs
        for call in calls:
            call()
        return outputs_view

    return act


def _normalise(scale: Tensor, shift: Tensor, rows: Tensor) -> None:
    rows.copy_(F.layer_norm(rows, scale.shape, scale, shift))
