"""Single-task success rates that performance is compared with, from a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def read_baseline(path: Path, names: Sequence[str]) -> dict[str, float]:
    """Success rate in (0, 1] of each task in `names`, in their order.

    The file is a JSON object, `{"reach-v3": 1.0, "push-v3": 0.92}`: each task's success rate when it is
    trained alone, which is `success_rate` in the `eval/final.json` of such a run. Other tasks in it
    are passed over.

    Raises:
        ValueError: no such file, no JSON object, a task is missing, or a rate is out of range.
    """
    asked = "`balancing.baseline`"
    try:
        content: Any = json.loads(path.read_text())
    except OSError as error:
        raise ValueError(
            f"{asked} should name a JSON file of success rates. Cannot read {path}:"
            f" {error.strerror}. Correct the path, or leave the option empty to compare with 1."
        ) from error
    except ValueError as error:
        raise ValueError(
            f'{asked} should name a JSON file, such as {{"reach-v3": 0.95}}. {path} is not JSON:'
            f" {error}."
        ) from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{asked} should hold an object of task names and success rates, such as"
            f' {{"reach-v3": 0.95}}. Found a {type(content).__name__} in {path}.'
        )
    missing = [name for name in names if name not in content]
    if missing:
        hint = (
            " This is an evaluation: give its `success_rate` as a file of its own."
            if isinstance(content.get("success_rate"), dict)
            else " Add them."
        )
        raise ValueError(
            f"{asked} should hold the success rate of every task of the run. {path} has none of"
            f" {', '.join(missing)}.{hint}"
        )
    return {name: _rate(content[name], name, path) for name in names}


def _rate(value: Any, name: str, path: Path) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 < value <= 1.0:
        remedy = (
            "A task that fails even alone says nothing about balancing: leave it out of `env.tasks`,"
            " or state the rate that you expect of it."
            if value == 0
            else "Divide percentages by 100."
        )
        raise ValueError(
            f"`balancing.baseline`: the success rate of {name} should be above 0 and at most 1. Found"
            f" {value!r} in {path}. {remedy}"
        )
    return float(value)
