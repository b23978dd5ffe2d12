"""A CUDA graph on the CPU: captured operations repeated on the same memory, without Python."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

# Operations whose answer the host has to wait for, or whose shape depends on values.
_WAITS = {"_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "equal", "unique"}


class OpGraph(TorchDispatchMode):
    """Implements `mtrl.rl.learning.cuda_graphs.Graph` for tests; fails where a GPU would wait."""

    def __init__(self) -> None:
        super().__init__()
        self.work: list[tuple[Any, tuple, dict, Any]] = []

    def begin(self) -> None:
        self.__enter__()

    def end(self) -> None:
        self.__exit__(None, None, None)

    def abandon(self) -> None:
        self.end()

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, out in self.work:
            fresh = func(*args, **kwargs)
            if not func._schema.is_mutable:
                for old, new in zip(
                    pytree.tree_leaves(out), pytree.tree_leaves(fresh), strict=True
                ):
                    if isinstance(old, Tensor):
                        old.copy_(new)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.split("::")[-1]
        if name in _WAITS:
            raise RuntimeError(f"operation `{name}` waits for the device during a capture")
        kwargs = kwargs or {}
        # Aliases: a later `squeeze_` changes the shape of a tensor, but not that of its alias.
        inputs = pytree.tree_map(_alias, (args, kwargs))
        out = func(*args, **kwargs)
        if not func.is_view and torch.Tag.inplace_view not in func.tags:
            self.work.append((func, *inputs, pytree.tree_map(_alias, out)))
        return out


class OpGraphPool:
    """Implements `mtrl.rl.learning.cuda_graphs.GraphPool` for tests."""

    def new_graph(self) -> OpGraph:
        return OpGraph()


def _alias(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value
