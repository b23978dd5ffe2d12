"""One call of a verb that trains: its view, its signals, its status."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from mtrl.runs.directory import RunDirectory
from mtrl.runs.interrupt import Interrupt
from mtrl.runs.view import View, make_view


@contextlib.contextmanager
def training_session(run: RunDirectory) -> Iterator[tuple[View, Interrupt]]:
    """Show progress, catch signals, and keep `status.json` honest while a run trains.

    An exception leaves the status `failed` with the last counters, and the lock free; after the block
    the caller writes `done` or `interrupted` and frees it.
    """
    view = make_view()
    run.write_status("running")
    try:
        with Interrupt() as interrupt:
            view.message(f"Run directory: {run.path}")
            yield view, interrupt
    except BaseException as error:
        run.write_status("failed", **_last_counters(run), error=str(error))
        run.release()
        raise
    finally:
        view.close()


def _last_counters(run: RunDirectory) -> dict[str, Any]:
    """The counters in the last status."""
    own = ("state", "heartbeat", "pid", "error")
    return {key: value for key, value in run.status().items() if key not in own}
