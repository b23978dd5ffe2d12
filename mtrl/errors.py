"""The base class of mtrl's errors, the exit codes of its command, and "Did you mean ...?".

Every package of mtrl may import this file; it imports no other file of mtrl.
"""

from __future__ import annotations

import difflib
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

OK, FAILED, USAGE, ENVIRONMENT, COMPARISON, INTERRUPTED = 0, 1, 2, 3, 4, 75

_CUTOFF = 0.6  # similarity of two names, 0 to 1; less similar names are not suggested


class MtrlError(Exception):
    """An error whose message says what is wrong and what to do. The command prints no traceback.

    Attributes:
        exit_code: exit code of the command that the error ends.
    """

    exit_code: ClassVar[int] = FAILED


class ConfigError(MtrlError, ValueError):
    """A configuration is wrong; the message says where and what to do."""

    exit_code = USAGE


class PluginError(MtrlError, RuntimeError):
    """A plug-in (the code behind an entry point, or a file) cannot be loaded."""

    exit_code = ENVIRONMENT


def suggest(name: object, known: Iterable[str], *, count: int = 1) -> str:
    """` Did you mean 'pivrg'?`, or an empty text if no known name is similar.

    Args:
        name: the name that was found.
        known: the valid names.
        count: largest number of names to suggest.
    """
    folded = {key.casefold(): key for key in known}
    close = difflib.get_close_matches(str(name).casefold(), folded, n=count, cutoff=_CUTOFF)
    return f" Did you mean {' or '.join(repr(folded[key]) for key in close)}?" if close else ""


def describe(error: BaseException) -> str:
    """An error in one line, with its place: `KeyError: 'x' (method.py, line 3)`."""
    text = f"{type(error).__name__}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return text + place
