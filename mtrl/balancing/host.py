"""Where a recorded update lets the host in.

An update can be recorded once and replayed (`mtrl.rl.recording`): the device repeats its operations on
the same memory, and no Python runs. Code that has to run on the host at every step, such as a
method's weight solve, says so by :func:`on_host`; code that would look at a tensor asks
:func:`may_read`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

from torch import Tensor

T = TypeVar("T")


class Recorder(Protocol):
    """Whoever records an update."""

    def on_host(self, call: Callable[[], T]) -> T:
        """Run `call` now and at every replay; its tensors keep their memory."""
        ...


_recorder: Recorder | None = None


@contextlib.contextmanager
def recorded_by(recorder: Recorder | None) -> Iterator[None]:
    """Inside, updates are recorded; None is for the parts that the host runs."""
    global _recorder
    before, _recorder = _recorder, recorder
    try:
        yield
    finally:
        _recorder = before


def on_host(call: Callable[[], T]) -> T:
    """Run `call`: it reads tensors from outside and returns tensors, numbers, or lists or dicts of them.

    While an update is recorded it will run again at every replay, on what the tensors hold then; what
    it returns keeps its memory. Numbers come back as tensors on the host, to be passed on with
    the metrics: a recorded operation must not read them. What is kept between calls (a cached
    Gramian) has to be there before the first one, or it is computed on the host, once for all.
    """
    return call() if _recorder is None else _recorder.on_host(call)


def recording() -> bool:
    """Whether what runs now is being recorded."""
    return _recorder is not None


def may_read(tensor: Tensor) -> bool:
    """Whether Python may branch on a value: not while recording, and not where it stalls a device."""
    return tensor.device.type == "cpu" and not recording()
