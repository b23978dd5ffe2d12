"""Join the runs of one bench into one result, whose figures are medians with their range."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mtrl.errors import MtrlError

Results = dict[str, dict[str, Any]]
"""Name of a raw file -> its result, runs joined; `machines` has an entry per run."""


class RepeatsError(MtrlError, ValueError):
    """Runs of one bench measure different things."""


class Figure(float):
    """The median over runs.

    Attributes:
        values: of the single runs, in their order.
    """

    values: tuple[float, ...]

    def __new__(cls, values: Sequence[float]) -> Figure:
        """The median of the values of all runs."""
        figure = super().__new__(cls, statistics.median(values))
        figure.values = tuple(values)
        return figure

    @property
    def low(self) -> float:
        """The smallest value."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The largest value."""
        return max(self.values)


def per_run(function: Callable[..., float], *figures: float) -> float:
    """The median and range of a function of figures, computed in each run."""
    runs = [figure.values if isinstance(figure, Figure) else (figure,) for figure in figures]
    return joined([function(*values) for values in zip(*runs, strict=True)], "a figure")


def read_results(folder: Path) -> Results:
    """The JSON files of a folder by name; `X.1.json` and `X.2.json` are runs of X and are joined.

    Raises:
        RepeatsError: runs of one bench do not measure the same.
    """
    runs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for path in sorted(folder.glob("*.json")):
        runs[path.name.partition(".")[0]].append(json.loads(path.read_text()))
    results = {}
    for name, found in runs.items():
        machines = [run.pop("machine") for run in found]
        _same([run.get("options") for run in found], name)
        results[name] = {"machines": machines, **joined(found, name)}
    return results


def joined(values: list[Any], where: str) -> Any:
    """Join the values of several runs, part by part.

    Parts that are equal in all runs stay. Numbers become a :class:`Figure`. Texts and flags that differ
    are listed.

    Raises:
        RepeatsError: parts differ in keys or length.
    """
    first = values[0]
    if all(isinstance(value, dict) for value in values):
        _same([sorted(value) for value in values], where)
        return {key: joined([value[key] for value in values], f"{where}: {key}") for key in first}
    if all(isinstance(value, list) for value in values):
        _same([len(value) for value in values], where)
        return [joined(list(entries), where) for entries in zip(*values, strict=True)]
    if all(isinstance(value, float) for value in values):
        return Figure(values)  # measured, even where all runs agree
    if all(value == first for value in values):
        return first
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        return " / ".join(dict.fromkeys(map(str, values)))
    return Figure(values)


def _same(shapes: list[Any], where: str) -> None:
    if any(shape != shapes[0] for shape in shapes):
        raise RepeatsError(
            f"Runs of one bench should measure the same ({where}). Found {shapes[0]} in one and"
            f" {next(s for s in shapes if s != shapes[0])} in another. Measure all of them again with"
            " one command."
        )
