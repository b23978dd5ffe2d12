"""The NaN guard: a step on losses that are not finite changes nothing, and stops the run."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mtrl.errors import MtrlError

_MASKED_LIMIT = 100  # updates in a row with a non-finite gradient row under a finite loss


class TrainingError(MtrlError, RuntimeError):
    """Training cannot go on: a loss or a gradient is not finite, or a task has no data."""


def guarded_step(optimizer: torch.optim.Adam, bad: Tensor) -> None:
    """A step of a fused Adam that leaves everything as it is where `bad` is 1 and not 0.

    The flag, a float, is read on the device: the host does not wait for it.
    """
    optimizer.found_inf = bad  # type: ignore[attr-defined]
    optimizer.step()


class NonFiniteGuard:
    """Counts bad updates on the device; the host reads the counts when told to.

    Args:
        device: of the updates.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_cpu = device.type == "cpu"
        self._bad = torch.zeros((), dtype=torch.int64, device=device)
        self._masked_streak = torch.zeros((), dtype=torch.int64, device=device)

    def watch(self, finite: Tensor, masked: Tensor) -> None:
        """Count an update.

        Args:
            finite: scalar; whether all losses were finite.
            masked: scalar; whether a task was left out because its gradient was not finite.
        """
        # In place: see `mtrl.rl.learning.cuda_graphs`.
        self._bad += ~finite
        self._masked_streak.add_(1).mul_(masked)

    def state_dict(self) -> dict[str, Tensor]:
        """The counts."""
        return {"bad": self._bad, "masked_streak": self._masked_streak}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore :meth:`state_dict`."""
        self._bad.copy_(state["bad"])
        self._masked_streak.copy_(state["masked_streak"])

    def problem(self, *, now: bool) -> str | None:
        """What is wrong, or None. Looking is free on the CPU; a device is asked only if `now`."""
        if not (self._on_cpu or now):
            return None
        if int(self._bad) > 0:
            return "A loss is not finite; the update that produced it changed nothing."
        if int(self._masked_streak) >= _MASKED_LIMIT:
            return f"A task's gradient has not been finite for {_MASKED_LIMIT} updates in a row."
        return None
