"""Waits that say what they wait for, and end."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from mtrl.errors import MtrlError

_SAY_EVERY_S = 60.0


class WorkersFailedError(MtrlError, RuntimeError):
    """Workers died more often than the run allows, failed, or did not answer."""


def to_stderr(text: str) -> None:
    """Say something where nobody else shows messages."""
    print(text, file=sys.stderr, flush=True)


class Patience:
    """One wait, looked at again and again.

    Args:
        limit_s: seconds after which it ends.
        say: shows a message.
    """

    def __init__(self, limit_s: float, say: Callable[[str], None]) -> None:
        self._limit_s = limit_s
        self._say = say
        self._start = self._said = time.monotonic()

    def check(self, what: str) -> None:
        """Call it now and then while waiting for `what`; it says so once a minute.

        Raises:
            WorkersFailedError: the wait has lasted too long.
        """
        now = time.monotonic()
        waited = now - self._start
        if waited > self._limit_s:
            raise WorkersFailedError(
                f"Waited {waited:.0f} s for {what} in vain. A worker hangs, or the cluster has no room"
                " for it: look at the machine with `ray status` or `top`, then use `--resume`."
            )
        if now - self._said > _SAY_EVERY_S:
            self._said = now
            self._say(f"Waiting for {what}, for {waited:.0f} s now.")
