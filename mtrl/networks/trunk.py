"""Fully connected trunks: several of the same shape side by side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtrl.networks.layers import TaskLayerNorm, TaskLinear


class Layer(nn.Module):
    """A linear layer, LayerNorm if there is one, and ReLU."""

    def __init__(self, linear: TaskLinear, norm: TaskLayerNorm | None) -> None:
        super().__init__()
        self.linear = linear
        self.norm = norm

    def forward(self, rows: Tensor) -> Tensor:
        """Apply the layer."""
        rows = self.linear(rows)
        return torch.relu(rows if self.norm is None else self.norm(rows))


class Trunk(nn.Module):
    """Hidden layers, `[e, n, in] -> [e, n, out]`; member k takes slice k of the rows.

    Initial weights are He-uniform and initial biases zero, as in the reference recipe.

    Args:
        members: e.
        in_features: size of an input row.
        widths: widths of the hidden layers.
        layer_norm: put LayerNorm before each ReLU.
        product_dtype: see :class:`mtrl.networks.layers.TaskLinear`.
    """

    def __init__(
        self,
        members: int,
        in_features: int,
        widths: Sequence[int],
        *,
        layer_norm: bool = False,
        product_dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        layers = []
        for width in widths:
            linear = TaskLinear(members, in_features, width, product_dtype=product_dtype)
            layers.append(Layer(linear, TaskLayerNorm(members, width) if layer_norm else None))
            in_features = width
        self.layers = nn.ModuleList(layers)

    def forward(self, rows: Tensor) -> Tensor:
        """Apply the layers; the result has the type of the rows."""
        dtype = rows.dtype
        for layer in self.layers:
            rows = layer(rows)
        return rows.to(dtype)
