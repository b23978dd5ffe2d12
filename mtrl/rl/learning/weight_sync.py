"""Copies the policy's weights to the host while the learner works."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mtrl.networks import Architecture
from mtrl.rl.acting.policy import flat_weights


class WeightSync:
    """Copies the actor's weights to the host.

    From a GPU the copy goes on a second stream into pinned memory: the host does not wait for the
    updates that it has launched, and they do not wait for the copy. On a CPU it is made at once.

    Args:
        actor: the network, on the learner's device.
    """

    def __init__(self, actor: Architecture) -> None:
        self._actor = actor
        parameter = next(actor.parameters())
        self._on_gpu = parameter.device.type == "cuda"
        self._pending: tuple[int, Any] | None = None  # the version, and weights or an event
        if self._on_gpu:
            size = sum(p.numel() for p in actor.parameters())
            self._stream = torch.cuda.Stream()
            self._device_copy = torch.empty(size, device=parameter.device)
            self._host_copy = torch.empty(size, pin_memory=True)

    def start(self, version: int) -> None:
        """Begin to copy the weights as they are now; a copy not taken yet is replaced."""
        if not self._on_gpu:
            self._pending = version, flat_weights(self._actor)
            return
        if self._pending is not None:
            self._pending[1].synchronize()  # the buffers are in use
        vectors = [p.detach().flatten() for p in self._actor.parameters()]
        torch.cat(vectors, out=self._device_copy)
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            self._host_copy.copy_(self._device_copy, non_blocking=True)
            event = torch.cuda.Event()
            event.record()
        self._pending = version, event

    def take(self, *, wait: bool) -> tuple[NDArray[np.float32], int] | None:
        """The weights and their version once they have arrived; None before, or without a copy.

        Args:
            wait: for a copy under way.
        """
        if self._pending is None:
            return None
        version, content = self._pending
        if self._on_gpu:
            if wait:
                content.synchronize()
            elif not content.query():
                return None
            content = self._host_copy.numpy().copy()
        self._pending = None
        return content, version
