"""Task names: expand a suite or check a list, before anything is built."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mtrl.errors import suggest

_FAKE_FAMILY = re.compile(r"fake(\d+)")


def task_names(tasks: str | Sequence[str]) -> list[str]:
    """Expand a suite, or check a list of tasks.

    Args:
        tasks: `mt10`, `mt25`, `mt50`, `fakeN`, one task name, or a list of task names.

    Returns:
        The task names in the suite's order; row i of every `[m, ...]` tensor is task i.

    Raises:
        ValueError: an unknown suite or task, an empty list, or a task named twice.
    """
    if isinstance(tasks, str):
        family = _FAKE_FAMILY.fullmatch(tasks)
        if family:
            if int(family[1]) == 0:
                raise ValueError("`env.tasks` is `fake0`: a family has at least one task.")
            return [f"fake-{i}" for i in range(int(family[1]))]
        suite = _suites().get(tasks.lower())
        return list(suite) if suite else task_names([tasks])

    names = list(tasks)
    if not names:
        raise ValueError("`env.tasks` is an empty list. Name at least one task, or `mt10`.")
    known = [*_suites()["mt50"]]
    for name in names:
        if name in known or re.fullmatch(r"fake-\d+", name):
            continue
        raise ValueError(
            f"Unknown task {name!r}. Expected `mt10`, `mt25`, `mt50` or Meta-World v3 task names"
            f" such as `reach-v3`.{suggest(name, [*known, *_suites()], count=3)}"
        )
    if len(set(names)) != len(names):
        raise ValueError(f"`env.tasks` names a task twice: {names}. Name each task once.")
    fakes = [name for name in names if name.startswith("fake-")]
    if fakes and len(fakes) != len(names):
        raise ValueError(f"`env.tasks` mixes fake and Meta-World tasks: {names}. Use one family.")
    return names


def split_tasks(text: str) -> str | list[str]:
    """What a person types for :func:`task_names`: a suite, a task, or tasks separated by commas."""
    return text.split(",") if "," in text else text


def _suites() -> dict[str, list[str]]:
    from metaworld import env_dict  # deferred: the import takes a second

    return {
        "mt10": list(env_dict.MT10_V3),
        "mt25": list(env_dict.MT25_V3),
        "mt50": list(env_dict.MT50_V3),
    }
