"""Capture an update once and replay it: CUDA graphs, cut where a method needs the host.

A replay runs no Python: the device repeats the captured operations on the same memory. So everything
that an update depends on lies in tensors that are changed in place (parameters, state of optimisers
and methods, rings, the state of generators). Work that has to run on the host says so
(`mtrl.balancing.capture.host_call`), and the capture is cut there.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from mtrl.balancing.capture import captured_by

T = TypeVar("T")


class Graph(Protocol):
    """One stretch of device work."""

    def begin(self) -> None:
        """Capture from now on."""
        ...

    def end(self) -> None:
        """End the capture, and see to it that the captured work has been carried out once."""
        ...

    def abandon(self) -> None:
        """End a capture that failed; carry nothing out."""
        ...

    def replay(self) -> None:
        """Carry the captured work out again."""
        ...


class GraphPool(Protocol):
    """The memory that the graphs of one captured step share."""

    def new_graph(self) -> Graph:
        """An empty graph."""
        ...


class CapturedStep(Generic[T]):
    """One call as graphs of device work, and calls on the host between them.

    Args:
        call: what to capture; its result is made of tensors, which every replay overwrites.
        pool: makes the graphs.

    Attributes:
        result: of the call.
    """

    def __init__(self, call: Callable[[], T], pool: GraphPool) -> None:
        self._pool = pool
        self._work: list[Callable[[], None]] = []
        self._open: Graph | None = None
        try:
            self._begin()
            with captured_by(self):
                self.result = call()
            self._end()
        except BaseException:
            if self._open is not None:
                self._open.abandon()
            raise

    def replay(self) -> T:
        """Carry the call out again; the result is the same tensors with new contents."""
        for work in self._work:
            work()
        return self.result

    def host_call(self, call: Callable[[], Any]) -> Any:
        """See `mtrl.balancing.capture.Capturer`."""
        self._end()
        with captured_by(None):
            kept = pytree.tree_map(_own, call())

        def again() -> None:
            with captured_by(None):
                fresh = pytree.tree_leaves(call())
            for old, new in zip(pytree.tree_leaves(kept), fresh, strict=True):
                if isinstance(old, Tensor):
                    old.copy_(torch.as_tensor(new), non_blocking=True)

        self._work.append(again)
        self._begin()
        return kept

    def _begin(self) -> None:
        graph = self._pool.new_graph()
        graph.begin()
        self._open = graph

    def _end(self) -> None:
        if self._open is not None:
            graph, self._open = self._open, None
            graph.end()
            self._work.append(graph.replay)


def _own(value: Any) -> Any:
    """A copy of what a call on the host returned, in memory that belongs to the captured step."""
    if isinstance(value, Tensor):
        return value.clone()
    return torch.tensor(value) if isinstance(value, Real) else value


class CudaGraphPool:
    """See :class:`GraphPool`.

    Args:
        generators: whose draws are part of the work.
    """

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        self._generators = generators
        self._stream = torch.cuda.Stream()  # never the default one
        self._memory = torch.cuda.graph_pool_handle()

    def new_graph(self) -> CudaGraph:
        """An empty graph in this memory."""
        return CudaGraph(self._stream, self._memory, self._generators)


class CudaGraph:
    """See :class:`Graph`.

    Args:
        stream: to capture on.
        memory: handle of the memory that the graph takes its tensors from.
        generators: whose draws are part of the work.
    """

    def __init__(
        self, stream: torch.cuda.Stream, memory: Any, generators: Sequence[torch.Generator]
    ) -> None:
        self._stream = stream
        self._memory = memory
        self._graph = torch.cuda.CUDAGraph()
        for generator in generators:
            self._graph.register_generator_state(generator)

    def begin(self) -> None:
        """Wait for the work launched before, then capture."""
        torch.cuda.synchronize()
        gc.collect()  # memory freed during a capture would stay with the graph
        torch.cuda.empty_cache()
        self._context = torch.cuda.stream(self._stream)
        self._context.__enter__()
        try:
            self._graph.capture_begin(pool=self._memory, capture_error_mode="thread_local")
        except BaseException:
            self._context.__exit__(None, None, None)
            raise

    def end(self) -> None:
        """Capture does not execute; replay once so that this step takes effect."""
        self._leave()
        self._graph.replay()

    def abandon(self) -> None:
        """See :class:`Graph`. The failed capture raises once more when it ends."""
        with contextlib.suppress(RuntimeError):
            self._leave()

    def replay(self) -> None:
        """Launch the work on the current stream."""
        self._graph.replay()

    def _leave(self) -> None:
        try:
            self._graph.capture_end()
        finally:
            self._context.__exit__(None, None, None)
