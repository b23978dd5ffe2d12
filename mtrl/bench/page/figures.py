"""Find figures in results, and write them on pages."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from mtrl.bench.page.repeats import Figure, per_run

Where = tuple[str | dict[str, Any] | Callable[[Any], float], ...]
"""The way to a figure: keys, values that choose an entry of a list, or functions."""


def find(results: Any, path: Where) -> float | None:
    """The figure at a path; None where it was not measured."""
    for key in path:
        if not results:
            return None
        if isinstance(key, dict):
            results = next((e for e in results if key.items() <= e.items()), {})
        elif isinstance(key, str):
            results = results.get(key, {})
        else:
            results = key(results)
    return results if isinstance(results, int | float) else None


def number(value: Any) -> str:
    """A float with three significant digits, and its range if runs differ; other values unchanged."""
    if isinstance(value, Figure):
        shown, low, high = (number(float(v)) for v in (value, value.low, value.high))
        return shown if low == high else f"{shown} ({low} to {high})"
    if not isinstance(value, float):
        return str(value)
    if value == 0 or 0.001 <= abs(value) < 1000:
        return f"{value:.3g}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1e}"


def markdown(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Rows with the same keys as a table."""
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    lines += ["| " + " | ".join(number(value) for value in row.values()) + " |" for row in rows]
    return lines


def single_calls(record: dict[str, Any]) -> float:
    """Time of least squares over ours in single calls: the ratio of the medians over matrices."""
    medians = (record[solver]["median_cpu_ms"] for solver in ("scipy", "newton"))
    return per_run(operator.truediv, *medians)


def over_all(
    choose: Callable[[Sequence[float]], float], figure: Callable[[dict[str, Any]], float]
) -> Callable[[list[dict[str, Any]]], float]:
    """A function that applies `min` or `max`, in each run, to one figure of all records."""
    return lambda records: per_run(lambda *values: choose(values), *map(figure, records))
