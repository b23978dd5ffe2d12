"""From an exception to one clear message and an exit code."""

from __future__ import annotations

import argparse
import select
import sys
from collections.abc import Callable

from mtrl.errors import ENVIRONMENT, OK, MtrlError
from mtrl.extras import missing_extra


def guarded(verb: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Run a verb; known failures become one clear message and an exit code.

    Args:
        verb: takes the options and returns the exit code.
        options: with the name of the verb as `verb`.
    """
    try:
        code = verb(options)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return 130
    except MtrlError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        if not _reader_is_gone():
            raise
        sys.stdout = None
        return OK
    except ImportError as error:
        message = missing_extra(error, options.verb)
        if message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        return ENVIRONMENT


def _reader_is_gone() -> bool:
    """Whether whoever read stdout, `head` for instance, has what it wanted."""
    try:
        watch = select.poll()
        watch.register(sys.stdout.fileno(), 0)  # an end that closed is always reported
        return bool(watch.poll(0))
    except (OSError, ValueError):
        return False
