"""Fully connected trunks."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn


def mlp(in_features: int, widths: Sequence[int], *, layer_norm: bool = False) -> nn.Sequential:
    """Linear layers with ReLU after each; the last width is the number of features.

    He-uniform weights and zero biases, as in the reference recipe. With `layer_norm` each linear
    layer is followed by LayerNorm before its ReLU.
    """
    layers: list[nn.Module] = []
    for width in widths:
        linear = nn.Linear(in_features, width)
        nn.init.kaiming_uniform_(linear.weight, nonlinearity="relu")
        nn.init.zeros_(linear.bias)
        layers.append(linear)
        if layer_norm:
            layers.append(nn.LayerNorm(width))
        layers.append(nn.ReLU())
        in_features = width
    return nn.Sequential(*layers)
