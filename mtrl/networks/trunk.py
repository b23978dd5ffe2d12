"""Fully connected trunks, several of the same shape side by side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtrl.networks.layers import TaskLayerNorm, TaskLinear


class Trunk(nn.Module):
    """Linear layers with ReLU after each, `[e, n, in] -> [e, n, out]`: member k takes slice k.

    Weights are He-uniform and biases zero, as in the reference recipe. With `layer_norm` each linear
    layer is followed by LayerNorm before its ReLU.

    Args:
        members: e.
        in_features: size of an input row.
        widths: of the hidden layers.
        layer_norm: LayerNorm in the hidden layers.
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
        self.layers = nn.ModuleList()
        for width in widths:
            linear = TaskLinear(members, in_features, width, product_dtype=product_dtype)
            norm = TaskLayerNorm(members, width) if layer_norm else nn.Identity()
            self.layers.append(nn.Sequential(linear, norm))
            in_features = width

    def forward(self, rows: Tensor) -> Tensor:
        """Apply the layers; the result has the type of the rows."""
        dtype = rows.dtype
        for layer in self.layers:
            rows = torch.relu(layer(rows))
        return rows.to(dtype)
