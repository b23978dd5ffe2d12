"""Records an update once and replays it: CUDA graphs, with the host let in where a method needs it.

Replaying runs no Python: the device repeats the recorded operations on the same memory. So whatever an
update depends on has to lie in tensors that are changed in place (parameters, optimiser and method
state, rings, the state of generators), and whatever has to run on the host says so
(`mtrl.balancing.capture.host_call`); there the recording is cut.
"""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from mtrl.balancing.capture import captured_by

T = TypeVar("T")


class Tape(Protocol):
    """A stretch of device work; once stopped, what was recorded has also been carried out."""

    def start(self) -> None:
        """Record from now on."""
        ...

    def stop(self) -> None:
        """The stretch ends here."""
        ...

    def abandon(self) -> None:
        """Stop without carrying anything out: what was to be recorded failed."""
        ...

    def replay(self) -> None:
        """Do it again."""
        ...


class Recording(Generic[T]):
    """One call, recorded: stretches of device work, and between them calls on the host.

    Args:
        call: what to record; its result is made of tensors, which every replay overwrites.
        new_tape: makes an empty tape.
    """

    def __init__(self, call: Callable[[], T], new_tape: Callable[[], Tape]) -> None:
        self._new_tape = new_tape
        self._steps: list[Callable[[], None]] = []
        self._open: Tape | None = None
        self.host_seconds = 0.0  # spent in calls on the host since this was last set to zero
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
        for step in self._steps:
            step()
        return self.result

    def host_call(self, call: Callable[[], Any]) -> Any:
        """See `mtrl.balancing.capture.Capturer`."""
        self._end()
        with captured_by(None):
            kept = pytree.tree_map(_own, call())

        def again() -> None:
            start = time.perf_counter()
            with captured_by(None):
                fresh = pytree.tree_leaves(call())
            for old, new in zip(pytree.tree_leaves(kept), fresh, strict=True):
                if isinstance(old, Tensor):
                    old.copy_(torch.as_tensor(new), non_blocking=True)
            self.host_seconds += time.perf_counter() - start

        self._steps.append(again)
        self._begin()
        return kept

    def _begin(self) -> None:
        tape = self._new_tape()
        tape.start()
        self._open = tape

    def _end(self) -> None:
        if self._open is not None:
            tape, self._open = self._open, None
            tape.stop()
            self._steps.append(tape.replay)


def _own(value: Any) -> Any:
    """Memory of the recording's own for what a call on the host returned."""
    if isinstance(value, Tensor):
        return value.clone()
    return torch.tensor(value) if isinstance(value, Real) else value


class CudaTape:
    """A CUDA graph. Unmeasured: no machine with a GPU was at hand.

    Args:
        stream: to record on; never the default one.
        pool: memory that all stretches of one recording share.
        generators: whose draws are part of the work.
    """

    def __init__(
        self, stream: torch.cuda.Stream, pool: Any, generators: Sequence[torch.Generator]
    ) -> None:
        self._stream, self._pool = stream, pool
        self._graph = torch.cuda.CUDAGraph()
        for generator in generators:
            self._graph.register_generator_state(generator)

    def start(self) -> None:
        """Wait for what was given out before, then record."""
        torch.cuda.synchronize()
        gc.collect()  # memory freed while recording would stay with the graph
        torch.cuda.empty_cache()
        self._context = torch.cuda.stream(self._stream)
        self._context.__enter__()
        try:
            self._graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
        except BaseException:
            self._context.__exit__(None, None, None)
            raise

    def stop(self) -> None:
        """Recording on a device does nothing yet, so replay it once."""
        self._leave()
        self._graph.replay()

    def abandon(self) -> None:
        """See :class:`Tape`; the capture has failed, and says so once more."""
        with contextlib.suppress(RuntimeError):
            self._leave()

    def replay(self) -> None:
        """Give the whole stretch to the device, on the current stream."""
        self._graph.replay()

    def _leave(self) -> None:
        try:
            self._graph.capture_end()
        finally:
            self._context.__exit__(None, None, None)
