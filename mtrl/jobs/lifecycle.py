"""The life of a run that trains, of either kind: made or resumed, locked, stopped by signals, ended."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from mtrl.config import Resolved
from mtrl.errors import ConfigError
from mtrl.jobs.compose import compose
from mtrl.runs.directory import RunDirectory
from mtrl.runs.interrupt import Interrupt
from mtrl.runs.naming import find_run
from mtrl.runs.progress import View, make_view

_HEARTBEAT_S = 5.0


class Outcome(Protocol):
    """How training ended: `done` or `interrupted`, with the counters for `status.json`."""

    @property
    def state(self) -> str: ...
    @property
    def counters(self) -> Mapping[str, int]: ...


OutcomeT = TypeVar("OutcomeT", bound=Outcome)


@dataclass(frozen=True)
class Job:
    """A run to train.

    Attributes:
        verb: `train` or `supervised`.
        run: its directory, locked.
        config: of the verb.
        state: of the checkpoint to go on from; None for a new run.
        initial: of the checkpoint whose networks a new run starts from, if any.
    """

    verb: str
    run: RunDirectory
    config: Any
    state: dict[str, Any] | None = None
    initial: dict[str, Any] | None = None


def create(
    verb: str, resolved: Resolved[Any], name: str, initial: dict[str, Any] | None = None
) -> Job:
    """A new run.

    Args:
        verb: that trains it.
        resolved: its configuration.
        name: what the name of its directory begins with.
        initial: see :class:`Job`.

    Raises:
        RunDirectoryError: no directory can be made.
    """
    config = resolved.config
    base = Path(config.run.directory)
    run = RunDirectory.create(base, name, config.seed, resolved.to_yaml())
    return Job(verb, run, config, initial=initial)


def open_run(verb: str, name: str) -> tuple[RunDirectory, Any]:
    """An existing run, not locked, and its configuration.

    Raises:
        RunDirectoryError: there is no such run.
        FormatError: it is a run of another version of mtrl.
        ConfigError: it is a run of another verb.
    """
    run = find_run(name)
    try:
        return run, compose(verb, [run.path / "config.yaml"]).config
    except ConfigError:
        from mtrl.runs import checkpoint

        # Another version may have other keys. That is the reason to give, not the first such key.
        checkpoint.check_format(run.checkpoints)
        raise


def resume(verb: str, name: str) -> Job | None:
    """An existing run with its last checkpoint; None, and a message, if nothing is left to train.

    Raises:
        RunDirectoryError: there is no such run, or another process trains it.
        ConfigError: it is a run of another verb.
        CheckpointError: it has no valid checkpoint.
    """
    run, config = open_run(verb, name)
    run.acquire()
    try:
        if run.status()["state"] == "done":
            print(f"{run.path} is done: nothing is left to train.", file=sys.stderr)
            run.release()
            return None
        from mtrl.runs import checkpoint  # torch: only once there is something to load

        path, state = checkpoint.load_latest(run.checkpoints, set_aside=True)
    except BaseException:
        run.release()
        raise
    print(f"Resuming {run.path} from {path.name}.", file=sys.stderr)
    return Job(verb, run, config, state)


def carry_out(
    job: Job, train: Callable[[View, Interrupt], OutcomeT]
) -> tuple[OutcomeT, int | None]:
    """Train a run, keep its status honest, and free its lock.

    Args:
        job: the run.
        train: gets the view and the signals.

    Returns:
        How it ended, and the number of the signal that came meanwhile. Such a run can be done all the
        same, where the signal came at its end.
    """
    with training_session(job.run) as (view, interrupt):
        outcome = train(view, interrupt)
    job.run.write_status(outcome.state, **outcome.counters)
    job.run.release()
    if outcome.state == "interrupted":
        print(
            f"Interrupted with a checkpoint. Go on with: mtrl {job.verb} --resume {job.run.path}",
            file=sys.stderr,
        )
    return outcome, interrupt.signal


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
