"""What a person sees while a run goes on: a live view on a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, TextIO

_PLAIN_EVERY_S = 30.0


@dataclass(frozen=True)
class Progress:
    """One moment of a run.

    Attributes:
        title: the run's name.
        done: share of the run, 0 to 1.
        seconds, seconds_left: wall time used and expected; None while unknown.
        tasks: names. success, returns, weights: one entry per task; NaN where unknown.
        facts: shown as they are, in this order.
    """

    title: str
    done: float
    seconds: float
    seconds_left: float | None
    tasks: list[str]
    success: list[float]
    returns: list[float]
    weights: list[float] | None = None
    facts: dict[str, str] = field(default_factory=dict)


class View(Protocol):
    """Shows progress on stderr; stdout is for results."""

    def update(self, progress: Progress) -> None:
        """Show a moment."""
        ...

    def message(self, text: str) -> None:
        """Say something once."""
        ...

    def close(self) -> None:
        """Leave the terminal as it was."""
        ...


def make_view(stream: TextIO | None = None) -> View:
    """A live view on a terminal, plain lines otherwise."""
    target = sys.stderr if stream is None else stream
    return LiveView() if target.isatty() else PlainView(target)


class PlainView:
    """A line every half minute, for logs and pipes."""

    def __init__(self, stream: TextIO, every_s: float = _PLAIN_EVERY_S) -> None:
        self.stream, self.every_s = stream, every_s
        self._last = -math.inf

    def update(self, progress: Progress) -> None:
        """Write a line if the last one is old enough."""
        now = time.monotonic()
        if now - self._last < self.every_s:
            return
        self._last = now
        facts = " | ".join(f"{name} {value}" for name, value in progress.facts.items())
        left = f" | left {_clock(progress.seconds_left)}" if progress.seconds_left else ""
        mean = f"{mean_known(progress.success):.2f}"
        self.message(
            f"{_clock(progress.seconds)} {100 * progress.done:3.0f}% success {mean} | {facts}{left}"
        )

    def message(self, text: str) -> None:
        """Write a line now."""
        print(text, file=self.stream, flush=True)

    def close(self) -> None:
        """Nothing to restore."""


class LiveView:
    """A table that redraws in place: success as bars, returns, weights, rates, time left."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(stderr=True)
        self._live = Live(console=self._console, refresh_per_second=2)
        self._live.start()

    def update(self, progress: Progress) -> None:
        """Redraw."""
        self._live.update(render(progress))

    def message(self, text: str) -> None:
        """Print above the table."""
        self._console.print(text, highlight=False)

    def close(self) -> None:
        """Stop redrawing; the last picture stays."""
        self._live.stop()


def render(progress: Progress):
    """The live view's picture of a moment, as a rich renderable."""
    from rich.console import Group
    from rich.panel import Panel
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    tasks = Table(box=None, expand=True, padding=(0, 1))
    tasks.add_column("task")
    tasks.add_column("success", ratio=1)
    tasks.add_column("", justify="right", width=5)
    tasks.add_column("return", justify="right")
    tasks.add_column("weight", justify="right")
    weights = progress.weights or [float("nan")] * len(progress.tasks)
    rows = zip(progress.tasks, progress.success, progress.returns, weights, strict=True)
    for name, success, total, weight in rows:
        known = 0.0 if math.isnan(success) else success
        bar = ProgressBar(total=1.0, completed=known)
        tasks.add_row(name, bar, _number(success), _number(total, ".0f"), _number(weight, ".3g"))
    tasks.add_row("mean", "", _number(mean_known(progress.success)), "", "", style="bold")

    pairs = [f"[dim]{name}[/dim]\u00a0{value}" for name, value in progress.facts.items()]
    facts = Text.from_markup("   ".join(pairs))  # wraps between facts on a narrow terminal
    left = _clock(progress.seconds_left) if progress.seconds_left is not None else "?"
    run = Table.grid(expand=True)  # a bare bar would swallow the line after it
    run.add_row(ProgressBar(total=1.0, completed=progress.done))
    clock = f"[dim]time[/dim] {_clock(progress.seconds)}   [dim]left[/dim] {left}"
    return Panel(Group(run, facts, clock, tasks), title=progress.title, border_style="dim")


def mean_known(values: Sequence[float]) -> float:
    """Mean of the values that are known; NaN where none is."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def _number(value: float, spec: str = ".2f") -> str:
    return "–" if math.isnan(value) else format(value, spec)


def _clock(seconds: float | None) -> str:
    whole = int(seconds or 0)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
