"""Show the progress of a run: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TextIO

_PLAIN_EVERY_S = 30.0


@dataclass(frozen=True)
class Column:
    """A column of the table of tasks.

    Attributes:
        name: heading of the column.
        values: one value per task; NaN if unknown.
        spec: format of a value.
        bar: also draw the value as a bar from 0 to 1.
    """

    name: str
    values: Sequence[float]
    spec: str = ".2f"
    bar: bool = False


@dataclass(frozen=True)
class Progress:
    """The state of a run at one moment, to be shown.

    Attributes:
        title: the run's name.
        done: share of the run that is done, 0 to 1.
        seconds: wall time so far.
        seconds_left: expected rest of the wall time; None if unknown.
        tasks: task names.
        columns: columns of the table of tasks; the mean of the first one is the run's main number.
        facts: name -> text, shown unchanged and in this order.
        heading: of the column of the tasks' names.
    """

    title: str
    done: float
    seconds: float
    seconds_left: float | None
    tasks: list[str]
    columns: list[Column]
    facts: dict[str, str] = field(default_factory=dict)
    heading: str = "task"


class View(Protocol):
    """Shows progress on stderr; stdout is for results."""

    def update(self, progress: Progress) -> None:
        """Show the state."""
        ...

    def message(self, text: str) -> None:
        """Show a message."""
        ...

    def close(self) -> None:
        """Restore the terminal."""
        ...


def make_view(stream: TextIO | None = None) -> View:
    """A live view on a terminal, plain lines otherwise."""
    target = sys.stderr if stream is None else stream
    return LiveView() if target.isatty() else PlainView(target)


class PlainView:
    """Writes a line every half minute, for logs and pipes."""

    def __init__(self, stream: TextIO, every_s: float = _PLAIN_EVERY_S) -> None:
        self.stream, self.every_s = stream, every_s
        self._last = -math.inf

    def update(self, progress: Progress) -> None:
        """Write a line if the last one was written long enough ago."""
        now = time.monotonic()
        if now - self._last < self.every_s:
            return
        self._last = now
        facts = " | ".join(f"{name} {value}" for name, value in progress.facts.items())
        left = f" | left {_clock(progress.seconds_left)}" if progress.seconds_left else ""
        first = progress.columns[0]
        mean = f"{first.name} {_number(mean_known(first.values), first.spec)}"
        self.message(
            f"{_clock(progress.seconds)} {100 * progress.done:3.0f}% {mean} | {facts}{left}"
        )

    def message(self, text: str) -> None:
        """Write a line now."""
        print(text, file=self.stream, flush=True)

    def close(self) -> None:
        """Do nothing: there is nothing to restore."""


class LiveView:
    """Redraws a table in place: tasks, facts, time left."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(stderr=True)
        self._live = Live(console=self._console, refresh_per_second=2)
        self._live.start()

    def update(self, progress: Progress) -> None:
        """Redraw the table."""
        self._live.update(render(progress))

    def message(self, text: str) -> None:
        """Print a message above the table."""
        self._console.print(text, highlight=False, markup=False)

    def close(self) -> None:
        """Stop redrawing; the last table stays."""
        self._live.stop()


def render(progress: Progress):
    """The live view's table, as a rich renderable."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    tasks = Table(box=None, expand=True, padding=(0, 1))
    tasks.add_column(progress.heading)
    for column in progress.columns:
        if column.bar:
            tasks.add_column(column.name, ratio=1)
        tasks.add_column("" if column.bar else column.name, justify="right", min_width=5)
    for i, name in enumerate(progress.tasks):
        cells: list[Any] = []
        for column in progress.columns:
            value = column.values[i]
            if column.bar:
                known = 0.0 if math.isnan(value) else min(max(value, 0.0), 1.0)
                cells.append(ProgressBar(total=1.0, completed=known))
            cells.append(_number(value, column.spec))
        tasks.add_row(name, *cells)
    first = progress.columns[0]
    mean = _number(mean_known(first.values), first.spec)
    tasks.add_row("mean", *([""] if first.bar else []), mean, style="bold")

    pairs = [f"[dim]{name}[/dim]\u00a0{value}" for name, value in progress.facts.items()]
    facts = Text.from_markup("   ".join(pairs))  # so that a narrow terminal wraps between facts
    left = _clock(progress.seconds_left) if progress.seconds_left is not None else "?"
    run = Table.grid(expand=True)  # without a grid the bar would hide the next line
    run.add_row(ProgressBar(total=1.0, completed=progress.done))
    clock = f"[dim]time[/dim] {_clock(progress.seconds)}   [dim]left[/dim] {left}"
    return Panel(Group(run, facts, clock, tasks), title=progress.title, border_style="dim")


def mean_known(values: Sequence[float]) -> float:
    """Mean of the values that are not NaN; NaN if there are none."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _number(value: float, spec: str = ".2f") -> str:
    return "–" if math.isnan(value) else format(value, spec)


def _clock(seconds: float | None) -> str:
    whole = int(seconds or 0)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
