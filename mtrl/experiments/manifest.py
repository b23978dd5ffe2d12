"""The manifest of a sweep: its plan and the process that made it. A plan may grow and change no more."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtrl.errors import USAGE, MtrlError
from mtrl.experiments.plan import Plan, options_by_method, shared_values
from mtrl.runs.directory import RunDirectory, describe_process

NAME = "manifest.json"


class SweepError(MtrlError, RuntimeError):
    """A sweep's directory holds another sweep, or something else."""

    exit_code = USAGE


def describe_plan(plan: Plan) -> dict[str, Any]:
    """The plan as plain JSON values."""
    content = {
        "verb": plan.verb,
        "methods": options_by_method(plan),
        "seeds": plan.seeds,
        "grid": plan.grid,
        "config": shared_values(plan),
        "jobs": {job.name: job.overrides for job in plan.jobs},
    }
    return json.loads(json.dumps(content))


def keep_plan(directory: RunDirectory, plan: Plan) -> None:
    """Write the plan into a sweep's directory, or see that the one there is the same or a part of it.

    Args:
        directory: of the sweep, locked.
        plan: may have more seeds and methods than the plan that is there.

    Raises:
        SweepError: the directory holds another plan, or a manifest that is none of a sweep.
    """
    path, new = directory.path / NAME, describe_plan(plan)
    processes = []
    if path.exists():
        kept = _read(path)
        if kept["plan"] == new:
            return
        if found := differences(kept["plan"], new):
            raise SweepError(
                f"{directory.path} holds another sweep: {'; '.join(found)}. Repeat its command (more"
                " seeds and methods may be added to it), or name another `--directory`."
            )
        processes = kept["processes"]
    directory.write_json(NAME, {"plan": new, "processes": [*processes, describe_process()]})


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What keeps a plan from being the continuation of another one, in words; nothing if it is one."""
    found = []
    if old["verb"] != new["verb"]:
        found.append(f"it is one of `mtrl {old['verb']}`")
    for what in ("seeds", "methods"):
        missing = [str(value) for value in old[what] if value not in new[what]]
        if missing:
            found.append(f"it has the {what} {', '.join(missing)} besides")
    for method, options in old["methods"].items():
        found += _changed(options, new["methods"].get(method, options), f"{method} option ")
    found += _changed(old["grid"], new["grid"], "grid ")
    return found + _changed(old["config"], new["config"])


def _changed(old: Mapping[str, Any], new: Mapping[str, Any], kind: str = "") -> list[str]:
    return [
        f"its {kind}`{key}` is {_shown(old, key)}, and yours is {_shown(new, key)}"
        for key in dict.fromkeys([*old, *new])
        if _shown(old, key) != _shown(new, key)
    ]


def _shown(values: Mapping[str, Any], key: str) -> str:
    return json.dumps(values[key]) if key in values else "not set"


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SweepError(f"Cannot read {path}: {error}. Name another `--directory`.") from error
    if not isinstance(content, dict) or not {"plan", "processes"} <= content.keys():
        raise SweepError(
            f"{path} is not the manifest of a sweep. Name another `--directory` for this one."
        )
    return content
