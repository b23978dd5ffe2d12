"""Run Python between captured CUDA graphs.

An update can be captured once and replayed (`mtrl.rl.learning.cuda_graphs`). A replay repeats the
operations on the same memory, and runs no Python. Code that has to run on the host at every step,
such as a method's weight solve, calls :func:`host_call`. Code that would read a tensor's value asks
:func:`may_read` first.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

from torch import Tensor

T = TypeVar("T")


class Capturer(Protocol):
    """What captures an update."""

    def host_call(self, call: Callable[[], T]) -> T:
        """Run `call` now and at every replay; its tensors keep their memory."""
        ...


_capturer: Capturer | None = None


@contextlib.contextmanager
def captured_by(capturer: Capturer | None) -> Iterator[None]:
    """What runs inside is captured by `capturer`; None is for the parts that the host runs."""
    global _capturer
    before, _capturer = _capturer, capturer
    try:
        yield
    finally:
        _capturer = before


def host_call(call: Callable[[], T]) -> T:
    """Run `call`: it reads tensors from outside and returns tensors, numbers, or lists or dicts of them.

    During a capture it is also run at every replay, on what the tensors hold then. What it returns
    keeps its memory. Numbers come back as tensors on the host, to be passed on with the metrics: a
    captured operation must not read them. A value that is kept between calls (a cached Gramian) has to
    exist before the first call, or it is computed on the host and never again.
    """
    return call() if _capturer is None else _capturer.host_call(call)


def is_capturing() -> bool:
    """Whether what runs now is being captured."""
    return _capturer is not None


def may_read(tensor: Tensor) -> bool:
    """Whether Python may branch on a value: not during a capture, and not where it stalls a device."""
    return tensor.device.type == "cpu" and not is_capturing()
