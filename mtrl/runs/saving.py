"""When a run saves besides its own intervals: by the clock, and before an error leaves it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator


class Saving:
    """Bounds what a run can lose.

    A state is whole between two changes; an error within :meth:`changing` leaves half of one behind,
    of which no checkpoint is made.

    Args:
        interval_s: wall time between two checkpoints in seconds; 0 sets no bound.
    """

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._whole = True
        self.on_save()

    def on_save(self) -> None:
        """Begin the interval anew."""
        self._last = time.monotonic()

    @property
    def overdue(self) -> bool:
        """Whether the last checkpoint is older than the interval."""
        return 0 < self._interval_s <= time.monotonic() - self._last

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Mark the state as not whole inside the block; it is whole again if nothing is raised."""
        self._whole = False
        yield
        self._whole = True

    @contextlib.contextmanager
    def rescuing(self, save: Callable[[], None], say: Callable[[str], None]) -> Iterator[None]:
        """Save before an error leaves the block, and say whether that worked.

        Args:
            save: writes a checkpoint and waits for the disk.
            say: shows a message.
        """
        try:
            yield
        except Exception:
            say(self._rescue(save))
            raise

    def _rescue(self, save: Callable[[], None]) -> str:
        if not self._whole:
            return (
                "The error below came in the middle of a change of the state, so no checkpoint was made"
                " of it. `--resume` goes on from the last one before."
            )
        try:
            save()
        except Exception as error:  # the first error is the one to report
            return (
                f"No checkpoint could be written before the error below: {error}. `--resume` goes on"
                " from the last one before."
            )
        return "A checkpoint was written before the error below left the run. `--resume` goes on there."
