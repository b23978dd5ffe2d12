"""What the benchmark scripts share: interleaved timing, the machine's description, tables, JSON."""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

Spent = TypeVar("Spent")
ROOT = Path(__file__).resolve().parents[1]

# Read when Ray is imported, which the scripts do after this: an embedded Ray listens on 127.0.0.1 only.
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")


def thread_seconds(call: Callable[[], Any]) -> float:
    """CPU time of this thread during the call: what other processes do counts little."""
    start = time.thread_time()
    call()
    return time.thread_time() - start


def take_turns(turns: Mapping[str, Callable[[], Spent]], rounds: int) -> dict[str, list[Spent]]:
    """What each turn returns in each round; the order of the turns alternates.

    One round before the first one counted warms caches up.
    """
    results: dict[str, list[Spent]] = {name: [] for name in turns}
    for number in range(rounds + 1):
        order = list(turns) if number % 2 else list(reversed(turns))
        for name in order:
            result = turns[name]()
            if number:
                results[name].append(result)
    return results


def interleave(calls: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each call in each round; the calls take turns, the order alternates."""
    clocked = {name: functools.partial(thread_seconds, call) for name, call in calls.items()}
    return take_turns(clocked, rounds)


def paired_ratio(numerator: Sequence[float], denominator: Sequence[float]) -> float:
    """The median over rounds of the ratio of two calls in the same round."""
    return statistics.median(a / b for a, b in zip(numerator, denominator, strict=True))


def lower_quartile(values: Sequence[float]) -> float:
    """The 25 % quantile: close to the undisturbed time, and steadier than the minimum."""
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=4, method="inclusive")[0]


def machine() -> dict[str, Any]:
    """Commit, processor, cores, libraries, date and command: what a figure is worth nothing without."""
    return {
        "git": commit(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": " ".join(["scripts/" + Path(sys.argv[0]).name, *sys.argv[1:]]),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        **{
            package: importlib.metadata.version(package)
            for package in ("metaworld", "mujoco", "numpy", "ray", "torch")
        },
    }


def commit() -> dict[str, Any] | None:
    """The commit of the measured code, and whether that code was changed since; None outside git.

    Results that are written meanwhile are no change of the code.
    """

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != ROOT:
            return None  # another repository around this folder
        changed = git("status", "--porcelain", "--", "mtrl", "scripts", "configs")
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(changed)}
    except (OSError, subprocess.CalledProcessError):
        return None


def tasks_argument(text: str) -> str | list[str]:
    """A benchmark's name, or names of tasks separated by commas: what `env.tasks` takes."""
    return text.split(",") if "," in text else text


def report(result: dict[str, Any], table: str, *, as_json: bool) -> None:
    """Print the table, or the result and the machine as one JSON object."""
    if as_json:
        print(json.dumps({"machine": machine(), **result}))
    else:
        about = machine()
        print(f"{about['processor']}, {about['cores']} cores, load {about['load']:.1f}")
        print(table)


def table(rows: Iterable[dict[str, Any]]) -> str:
    """Rows with the same keys, aligned; floats above 10 without decimals."""
    rows = list(rows)
    cells = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    )


def _cell(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.2f}"


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
