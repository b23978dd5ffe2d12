"""A stopwatch for the parts of a program."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator


class Stopwatch:
    """Adds up the wall time of named parts: `with clock("learning"): ...`.

    Parts may nest. Time belongs to the innermost part alone, so that all parts together never exceed
    the time that has passed. A stopwatch belongs to one thread.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._open: list[str] = []
        self._since = 0.0

    @contextlib.contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Count the time of the block, without that of the parts inside it."""
        self._count()
        self._open.append(part)
        try:
            yield
        finally:
            self._count()
            self._open.pop()

    def add(self, part: str, seconds: float) -> None:
        """Count time that was measured elsewhere."""
        self._seconds[part] = self._seconds.get(part, 0.0) + seconds

    def take(self) -> dict[str, float]:
        """Seconds of each part since the last call; an open part counts up to now."""
        self._count()
        seconds, self._seconds = self._seconds, {}
        return seconds

    def _count(self) -> None:
        """Give the time since the last look to the innermost open part."""
        now = time.perf_counter()
        if self._open:
            self.add(self._open[-1], now - self._since)
        self._since = now
