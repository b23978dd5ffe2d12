"""One call of a verb that trains: its view, its signals, its status."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from mtrl.runs.directory import RunDirectory
from mtrl.runs.interrupt import Interrupt
from mtrl.runs.progress import View, make_view

_HEARTBEAT_S = 5.0


@contextlib.contextmanager
def training_session(run: RunDirectory) -> Iterator[tuple[View, Interrupt]]:
    """Show progress, catch signals, and keep `status.json` honest while a run trains.

    Its heartbeat says that the process lives, whatever it is busy with. An exception leaves the status
    `failed` with the last counters, and the lock free; after the block the caller writes `done` or
    `interrupted` and frees it.
    """
    view = make_view()
    run.write_status("running")
    try:
        with Interrupt() as interrupt, _beating(run):
            view.message(f"Run directory: {run.path}")
            yield view, interrupt
    except BaseException as error:
        run.write_status("failed", **_last_counters(run), error=str(error))
        run.release()
        raise
    finally:
        view.close()


@contextlib.contextmanager
def _beating(run: RunDirectory) -> Iterator[None]:
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(_HEARTBEAT_S):
            with contextlib.suppress(OSError):  # a full disk; training meets it where it matters
                run.beat()

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _last_counters(run: RunDirectory) -> dict[str, Any]:
    """The counters in the last status."""
    own = ("state", "heartbeat", "pid", "host", "error")
    return {key: value for key, value in run.status().items() if key not in own}
