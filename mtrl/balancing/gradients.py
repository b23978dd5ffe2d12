"""From a loss function to the gradient of every task, in one backward pass.

Each task has its own *view* of the shared parameters, `p.expand(m, ...)`, which takes no memory. The
rows of task i go through view i. One backward pass of the plain sum of the losses then leaves the
gradient of task i in block i, at about the cost of the plain sum itself.
"""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

LossFunction = Callable[[Mapping[str, Tensor]], tuple[Tensor, Any]]
"""`loss_fn(shared) -> (losses [m], aux)`, pure: noise and targets are drawn outside."""

Mode = Literal["views", "batched", "loop"]

# One product over a million coordinates errs by 6e-5 in float32 on a CPU, and reads memory twice.
_PIECE = 4096


class TaskGradients:
    """The gradients of `m` tasks with respect to the shared parameters, kept per parameter.

    Args:
        blocks: one tensor `[m, ...]` per parameter; together they are the Jacobian `[m, n]`.
    """

    def __init__(self, blocks: Sequence[Tensor]) -> None:
        self.blocks = list(blocks)
        self._matrices: list[Tensor] | None = None

    @property
    def num_tasks(self) -> int:
        """The number of tasks m."""
        return len(self.blocks[0])

    def gramian(self) -> Tensor:
        """Inner products of the rows, `[m, m]` float64, exactly symmetric.

        Rows are multiplied in float32 without TF32 (whose 1e-3 error swamps near-opposed gradients),
        a few thousand coordinates at a time, and the partial products are summed in float64;
        float64 blocks stay float64.
        """
        with full_precision():
            products = [
                torch.bmm(piece, piece.mT)
                for rows in self._rows()
                for piece in _pieces(rows if rows.dtype == torch.float64 else rows.float())
            ]
        total = torch.cat(products).sum(0, dtype=torch.float64)
        return (total + total.T) / 2

    def dot(self, vector: Tensor) -> Tensor:
        """Products of each row with `vector [n]`, `[m]` float64."""
        total = torch.zeros(self.num_tasks, dtype=torch.float64, device=vector.device)
        with full_precision():
            for block, part in zip(self.blocks, self._split(vector), strict=True):
                total += (block.flatten(1) @ part.to(block.dtype)).double()
        return total

    def combine_blocks(self, weights: Tensor) -> list[Tensor]:
        """The weighted sum of the rows, one tensor per parameter in the parameter's shape."""
        row = weights.to(self.blocks[0].dtype)[None]
        sums = [torch.mm(row, rows)[0] for rows in self._rows()]
        small = [block for block in self.blocks if _is_small(block)]
        parts = iter(sums[-1].split([block[0].numel() for block in small]) if small else [])
        return [
            (next(parts) if _is_small(block) else sums.pop(0)).view(block.shape[1:])
            for block in self.blocks
        ]

    def combine(self, weights: Tensor) -> Tensor:
        """The weighted sum of the rows, `[n]`."""
        return torch.cat([part.flatten() for part in self.combine_blocks(weights)])

    def matrix(self) -> Tensor:
        """The Jacobian `[m, n]`: the only place where it is concatenated."""
        return torch.cat([block.flatten(1) for block in self.blocks], dim=1)

    def masked(self, keep: Tensor) -> TaskGradients:
        """These gradients with the rows where `keep [m]` is false set to zero."""
        return TaskGradients(
            [
                torch.where(keep.view(-1, *[1] * (block.dim() - 1)), block, 0.0)
                for block in self.blocks
            ]
        )

    def split(self, direction: Tensor) -> list[Tensor]:
        """Cut a direction `[n]` into the shapes of the parameters."""
        parts = self._split(direction)
        return [p.view(block.shape[1:]) for p, block in zip(parts, self.blocks, strict=True)]

    def _split(self, vector: Tensor) -> tuple[Tensor, ...]:
        return vector.split([block[0].numel() for block in self.blocks])

    def _rows(self) -> list[Tensor]:
        """The Jacobian as few matrices `[m, k]`: a large block each, the small ones (biases) in one."""
        if self._matrices is None:
            self._matrices = [b.flatten(1) for b in self.blocks if not _is_small(b)]
            small = [block.flatten(1) for block in self.blocks if _is_small(block)]
            if small:
                self._matrices.append(torch.cat(small, dim=1))
        return self._matrices


def task_views(shared: Mapping[str, Tensor], num_tasks: int) -> dict[str, Tensor]:
    """A view `[m, ...]` of each parameter with a slice for every task; it takes no memory."""
    return {name: p.detach().expand(num_tasks, *p.shape) for name, p in shared.items()}


def task_gradients(
    loss_fn: LossFunction,
    shared: Mapping[str, Tensor],
    heads: Sequence[Tensor],
    num_tasks: int,
    *,
    mode: Mode = "views",
) -> tuple[Tensor, Any, TaskGradients, list[Tensor]]:
    """Losses, per-task gradients of the shared parameters, and gradients of the heads.

    Args:
        loss_fn: see :data:`LossFunction`. In mode `views` it receives tensors `[m, *p.shape]` and
            must use slice i for task i only.
        shared: the shared parameters by name.
        heads: parameters of which each belongs to one task, or has a slice for each task.
        num_tasks: m.
        mode: `views`, one backward, for tasks on disjoint inputs; where all tasks share one input,
            `batched` vector-Jacobian products (or a loop, with a warning, where an operation has no
            batched form) or a `loop` of backward passes. All agree to rounding.

    Returns:
        `(losses [m], aux, gradients, head_gradients)`; heads get the gradient of the plain sum,
        which is their own task's gradient.
    """
    if mode == "views":
        views = {name: v.requires_grad_() for name, v in task_views(shared, num_tasks).items()}
        losses, aux = loss_fn(views)
        # Of the plain sum.
        grads = torch.autograd.grad(losses, [*views.values(), *heads], torch.ones_like(losses))
        blocks, head_grads = grads[: len(views)], list(grads[len(views) :])
        return losses.detach(), aux, TaskGradients(blocks), head_grads

    params = list(shared.values())
    losses, aux = loss_fn(shared)
    if heads:
        head_grads = list(torch.autograd.grad(losses.sum(), heads, retain_graph=True))
    else:
        head_grads = []
    blocks = _batched(losses, params) if mode == "batched" else None
    if blocks is None:
        rows = [
            torch.autograd.grad(loss, params, retain_graph=True, materialize_grads=True)
            for loss in losses
        ]
        blocks = [torch.stack(column) for column in zip(*rows, strict=True)]
    return losses.detach(), aux, TaskGradients(blocks), head_grads


def _batched(losses: Tensor, params: Sequence[Tensor]) -> list[Tensor] | None:
    """All rows in one batched vector-Jacobian product; None where an operation has no batched form."""
    one_hot = torch.eye(len(losses), dtype=losses.dtype, device=losses.device)
    try:
        return list(
            torch.autograd.grad(
                losses,
                params,
                one_hot,
                retain_graph=True,
                is_grads_batched=True,
                materialize_grads=True,
            )
        )
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        warnings.warn(
            f"No batched task gradients for this model, a loop of backward passes serves: {error}",
            stacklevel=2,
        )
        return None


def _is_small(block: Tensor) -> bool:
    return block[0].numel() <= _PIECE


def _pieces(rows: Tensor) -> Iterator[Tensor]:
    """`[m, n]` as `[n / k, m, k]` without a copy, and what is left over as `[1, m, rest]`."""
    m, n = rows.shape
    size = _piece_size(n)
    even = n - n % size
    yield rows[:, :even].view(m, -1, size).transpose(0, 1)
    if even < n:
        yield rows[None, :, even:]


@functools.cache
def _piece_size(n: int) -> int:
    """The largest divisor of `n` that is a good piece; else pieces of full size, and a rest."""
    if n <= _PIECE:
        return n
    return next((k for k in range(_PIECE, _PIECE // 8, -1) if n % k == 0), _PIECE)


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Inside, float32 products on a GPU take no TF32."""
    if not torch.cuda.is_available() or not torch.backends.cuda.matmul.allow_tf32:
        yield
        return
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = True
