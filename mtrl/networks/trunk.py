"""Fully connected trunks, several of the same shape side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class Trunk(nn.Module):
    """Linear layers with ReLU after each, `[e, n, in] -> [e, n, out]`: member k takes slice k.

    He-uniform weights and zero biases, as in the reference recipe. With `layer_norm` each linear
    layer is followed by LayerNorm before its ReLU. Parameters of all members are one tensor each, so
    that twin critics take one product per layer: `weight_i [e, in, out]`, `bias_i [e, 1, out]`,
    and for LayerNorm `scale_i`, `shift_i [e, 1, out]`.

    Args:
        members: e.
        in_features: size of an input row.
        widths: of the hidden layers.
        out_features: of one more linear layer, without ReLU; None for none.
        out_bound: of that layer's uniform initialisation.
        layer_norm: LayerNorm in the hidden layers.
        product_dtype: of products: rows, weights and biases are rounded to it, and what comes out
            (LayerNorm and the weights' gradients before they are widened) is of it; None leaves all
            in the parameters' type.
    """

    def __init__(
        self,
        members: int,
        in_features: int,
        widths: Sequence[int],
        *,
        out_features: int | None = None,
        out_bound: float = 3e-3,
        layer_norm: bool = False,
        product_dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.hidden, self.depth = len(widths), len(widths) + (out_features is not None)
        self.layer_norm = layer_norm
        self.product_dtype = product_dtype
        sizes = [*widths] if out_features is None else [*widths, out_features]
        for i, width in enumerate(sizes):
            bound = math.sqrt(6.0 / in_features) if i < self.hidden else out_bound
            weight = torch.empty(members, in_features, width).uniform_(-bound, bound)
            self.register_parameter(f"weight_{i}", nn.Parameter(weight))
            self.register_parameter(f"bias_{i}", nn.Parameter(torch.zeros(members, 1, width)))
            if layer_norm and i < self.hidden:
                self.register_parameter(f"scale_{i}", nn.Parameter(torch.ones(members, 1, width)))
                self.register_parameter(f"shift_{i}", nn.Parameter(torch.zeros(members, 1, width)))
            in_features = width

    def forward(self, rows: Tensor, shared: Mapping[str, Tensor] | None = None) -> Tensor:
        """Apply the layers.

        Args:
            rows: `[e, n, in]`.
            shared: other values for the parameters, of their own shape, or expanded to `[m, ...]`:
                then rows are task-major, and each task gets a gradient of its own
                (`mtrl.balancing.gradients`).
        """
        values: Mapping[str, Tensor] = dict(self.named_parameters()) if shared is None else shared
        for i in range(self.depth):
            dtype = self.product_dtype or rows.dtype
            rows = _linear(rows.to(dtype), values[f"weight_{i}"], values[f"bias_{i}"])
            if i < self.hidden:
                if self.layer_norm:
                    rows = F.layer_norm(rows, rows.shape[-1:])
                    rows = _affine(rows, values[f"scale_{i}"], values[f"shift_{i}"])
                rows = torch.relu(rows)
        return rows.to(values["weight_0"].dtype)


def _linear(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    if weight.dim() == 3:
        return torch.baddbmm(bias.to(rows.dtype), rows, weight.to(rows.dtype))
    if weight.stride(0) != 0 and len(weight) > 1:
        raise ValueError(
            "Parameters of each task's own should be one value expanded to `[m, ...]`. Found a tensor"
            f" with strides {weight.stride()}. Use `parameter.expand(m, ...)`."
        )
    return _TaskLinear.apply(rows, weight, bias)  # type: ignore[return-value]


def _affine(rows: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    if scale.dim() == 3:
        return torch.addcmul(shift, rows, scale)
    by_task = rows.view(rows.shape[0], len(scale), -1, rows.shape[-1])
    return torch.addcmul(shift.transpose(0, 1), by_task, scale.transpose(0, 1)).view(rows.shape)


class _TaskLinear(torch.autograd.Function):
    """One product for all tasks forward and down to the rows, one per task for the weights.

    The products are those of the plain sum, cut along the tasks: as many operations, and gradients
    `[m, e, in, out]` laid out as balancing methods read them.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """`[e, m b, in], [m, e, in, out], [m, e, 1, out] -> [e, m b, out]`."""
        ctx.save_for_backward(rows, weight)
        return _linear(rows, weight[0], bias[0])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        """Gradients of the rows, and of weights and biases for each task."""
        (grad,) = grads
        rows, weight = ctx.saved_tensors
        m, e, n, width = weight.shape
        by_task = grad.view(e, m, -1, width)
        grad_rows = None
        if ctx.needs_input_grad[0]:
            grad_rows = torch.bmm(grad, weight[0].to(grad.dtype).mT)
        inputs = rows.view(e, m, -1, n).mT
        grad_weight = grad.new_empty(m, e, n, width)
        for k in range(e):
            torch.bmm(inputs[k], by_task[k], out=grad_weight[:, k])
        grad_bias = grad.new_empty(m, e, 1, width, dtype=weight.dtype)
        torch.sum(by_task, 2, keepdim=True, dtype=weight.dtype, out=grad_bias.transpose(0, 1))
        return grad_rows, grad_weight.to(weight.dtype), grad_bias
