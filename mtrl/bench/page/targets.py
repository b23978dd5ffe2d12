"""The table of targets: what we want of the speed, and whether the results meet it."""

from __future__ import annotations

import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML

from mtrl.bench.page.figures import Where, find, markdown, over_all, single_calls
from mtrl.bench.page.repeats import Figure, Results
from mtrl.errors import USAGE, MtrlError

FILE = "targets.yaml"
_COMPARE = {">=": operator.ge, "<=": operator.le}
_WORKED_OUT: dict[str, Callable[[Any], float]] = {"least single calls": over_all(min, single_calls)}
"""Name in the file -> a function of the records that the way before it leads to."""


class TargetError(MtrlError, ValueError):
    """A target cannot be read."""

    exit_code = USAGE


class Target(NamedTuple):
    """A bound of a figure.

    Attributes:
        what: the figure in words.
        sign: `>=` or `<=`.
        bound: as the file writes it.
        figure: where it lies in the results.
    """

    what: str
    sign: str
    bound: str
    figure: Where


def read_targets(folder: Path) -> list[Target]:
    """The targets of a folder of raw files; none where it has no `targets.yaml`.

    Raises:
        TargetError: an entry is not complete, or its target is no bound.
    """
    path = folder / FILE
    if not path.exists():
        return []
    return [_target(entry, path) for entry in YAML(typ="safe", pure=True).load(path)]


def targets_table(results: Results, targets: list[Target]) -> list[str]:
    """A row per target: the figure, its runs, and whether it meets the bound."""
    rows = []
    for target in targets:
        value = find(results, target.figure)
        row = {"what": target.what, "target": f"{target.sign} {target.bound}"}
        if value is None:
            rows.append(row | {"measured": "", "runs": "", "met": "not measured"})
            continue
        runs = len(results[str(target.figure[0])]["machines"])
        rows.append(row | {"measured": value, "runs": runs, "met": _met(value, target)})
    return markdown(rows)


def _target(entry: Any, path: Path) -> Target:
    try:
        sign, bound = entry["target"].split()
        figure = tuple(_WORKED_OUT.get(k, k) if isinstance(k, str) else k for k in entry["figure"])
        target = Target(entry["what"], sign, bound, figure)
        if sign not in _COMPARE:
            raise ValueError(sign)
        float(bound)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise TargetError(
            f'{path}: an entry should have `what`, `figure` (a list) and `target` (such as ">= 2.5").'
            f" Found {entry}."
        ) from error
    return target


def _met(value: float, target: Target) -> str:
    compare, bound = _COMPARE[target.sign], float(target.bound)
    verdict = "yes" if compare(value, bound) else "**no**"
    runs = value.values if isinstance(value, Figure) else (value,)
    if len({compare(run, bound) for run in runs}) == 1:
        return verdict
    return {"yes": "met, within noise", "**no**": "**missed, within noise**"}[verdict]
