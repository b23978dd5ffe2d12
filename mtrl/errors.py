"""The errors that mtrl raises on purpose, the exit codes of its command, and "Did you mean ...?".

Every room may import this file; it imports nothing of mtrl.
"""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

OK, FAILED, USAGE, ENVIRONMENT, COMPARISON, INTERRUPTED = 0, 1, 2, 3, 4, 75

_CUTOFF = 0.6  # likeness of two names, from 0 to 1, below which neither is a slip for the other


class MtrlError(Exception):
    """What is wrong is known, and the message says what to do: the command prints no traceback.

    Attributes:
        exit_code: of the command that it ends.
    """

    exit_code: ClassVar[int] = FAILED


class PluginError(MtrlError, RuntimeError):
    """Code that belongs to somebody else, named by an entry point or a file, cannot be loaded."""

    exit_code = ENVIRONMENT


def suggest(name: object, known: Iterable[str], *, count: int = 1) -> str:
    """` Did you mean 'pivrg'?`, or nothing where no known name is close.

    Args:
        name: what was found.
        known: what would be right.
        count: how many names at most.
    """
    folded = {key.casefold(): key for key in known}
    close = difflib.get_close_matches(str(name).casefold(), folded, n=count, cutoff=_CUTOFF)
    return f" Did you mean {' or '.join(repr(folded[key]) for key in close)}?" if close else ""


def describe(error: BaseException) -> str:
    """An error in one line, with the place that raised it: `KeyError: 'x' (method.py, line 3)`."""
    text = f"{type(error).__name__}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return text + place
