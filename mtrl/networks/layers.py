"""Linear and normalisation layers whose parameters may be expanded over tasks.

Letters: `e` members (networks side by side), `m` tasks, `n` rows of all tasks.

A parameter has the shape `[e, ...]`. `mtrl.balancing.gradients` replaces it by
`parameter.expand(m, e, ...)`: the same value once for each task. Then a single backward pass through the
layer gives a gradient `[m, e, ...]`, one for each task. Rows must be task-major, `n = m b`.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class TaskLinear(nn.Module):
    """`e` linear layers side by side, `[e, n, in] -> [e, n, out]`.

    Args:
        members: e.
        in_features: size of an input row.
        out_features: size of an output row.
        bound: bound of the weights' uniform initialisation; None is He-uniform,
            `sqrt(6 / in_features)`.
        product_dtype: type in which products are computed, for example bfloat16; None takes the type
            of the rows.
    """

    def __init__(
        self,
        members: int,
        in_features: int,
        out_features: int,
        *,
        bound: float | None = None,
        product_dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        bound = math.sqrt(6.0 / in_features) if bound is None else bound
        weight = torch.empty(members, in_features, out_features)
        self.weight = nn.Parameter(weight.uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(members, 1, out_features))
        self.product_dtype = product_dtype

    def forward(self, rows: Tensor) -> Tensor:
        """Apply the layer."""
        rows = rows.to(self.product_dtype or rows.dtype)
        if not _per_task(self.weight):
            return _product(rows, self.weight, self.bias)
        return _TaskProduct.apply(rows, self.weight, self.bias)  # type: ignore[return-value]


class TaskLayerNorm(nn.Module):
    """`e` LayerNorms side by side, `[e, n, width] -> [e, n, width]`."""

    def __init__(self, members: int, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(members, 1, width))
        self.shift = nn.Parameter(torch.zeros(members, 1, width))

    def forward(self, rows: Tensor) -> Tensor:
        """Apply the layer."""
        rows = F.layer_norm(rows, rows.shape[-1:])
        scale, shift = self.scale, self.shift
        if not _per_task(scale):
            return torch.addcmul(shift, rows, scale)
        by_task = rows.view(rows.shape[0], len(scale), -1, rows.shape[-1])
        return torch.addcmul(shift.transpose(0, 1), by_task, scale.transpose(0, 1)).view(rows.shape)


class TaskOneHot(nn.Module):
    """Append the task's one-hot to each row, `[m, b, in] -> [m, b, in + m]`."""

    def __init__(self, num_tasks: int) -> None:
        super().__init__()
        self.one_hot: Tensor
        self.register_buffer("one_hot", torch.eye(num_tasks)[:, None], persistent=False)

    def forward(self, rows: Tensor) -> Tensor:
        """Append the one-hot."""
        m, b, _ = rows.shape
        return torch.cat([rows, self.one_hot.expand(m, b, m)], dim=-1)


def _per_task(parameter: Tensor) -> bool:
    """Whether a parameter is one value expanded to `[m, e, ...]`."""
    if parameter.dim() == 3:
        return False
    if parameter.stride(0) != 0 and len(parameter) > 1:
        raise ValueError(
            "Parameters per task should be one value expanded to `[m, ...]`. Found a tensor with"
            f" strides {parameter.stride()}. Use `parameter.expand(m, ...)`."
        )
    return True


def _product(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.baddbmm(bias.to(rows.dtype), rows, weight.to(rows.dtype))


class _TaskProduct(torch.autograd.Function):
    """A linear layer whose backward pass returns weight gradients per task.

    The forward product and the gradient of the rows are one product for all tasks. The weight gradient
    is one product per task. Together they need as many operations as the plain sum. The gradients
    `[m, e, in, out]` have the memory layout that balancing methods read.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """`[e, m b, in], [m, e, in, out], [m, e, 1, out] -> [e, m b, out]`."""
        ctx.save_for_backward(rows, weight)
        return _product(rows, weight[0], bias[0])

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
