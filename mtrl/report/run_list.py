"""List runs, one line each, from their directories."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from mtrl.runs.directory import RunDirectory, RunDirectoryError, list_runs

_REASON_LENGTH = 100  # characters


def describe_runs(base: Path) -> list[dict[str, Any]]:
    """A description of each run in a folder, oldest first.

    Raises:
        RunDirectoryError: there is no such folder.
    """
    if not base.is_dir():
        raise RunDirectoryError(f"No folder {base}. Train first, or name the folder of runs.")
    return [describe(run) for run in list_runs(base)]


def describe(run: RunDirectory) -> dict[str, Any]:
    """Describe a run; values are None if they are unknown or their file is damaged.

    Returns:
        `name`, `path`, `method`, `seed`; `state`, and `reason` if it failed; `age_s`, seconds since it
        began; `env_steps`, `updates`; `success` or `delta_m`, the final result; `last_evaluation`, the
        mean success rate of the newest periodic evaluation.
    """
    status = run.status()
    config, manifest = _yaml(run.path / "config.yaml"), _json(run.path / "manifest.json")
    final = _json(run.path / "eval" / "final.json")
    periodic = sorted((run.path / "eval").glob("step_*.json"))
    return {
        "name": run.path.name,
        "path": str(run.path),
        "method": config.get("method"),
        "seed": config.get("seed"),
        "state": status["state"],
        "reason": _reason(status),
        "age_s": _age(manifest.get("created")),
        "env_steps": status.get("env_steps"),
        "updates": status.get("updates"),
        "success": _number(final.get("mean_success_rate")),
        "delta_m": _delta_m(final.get("test")),
        "last_evaluation": _number(_json(periodic[-1]).get("mean_success_rate"))
        if periodic
        else None,
    }


def runs_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Descriptions as aligned text with a header; the reason of a failure follows its run."""
    head = ["run", "state", "method", "seed", "age", "steps", "updates", "result"]
    cells = [
        [
            row["name"],
            row["state"],
            _text(row["method"]),
            _text(row["seed"]),
            _duration(row["age_s"]),
            _text(row["env_steps"]),
            _text(row["updates"]),
            _result(row),
        ]
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
    right = (3, 4, 5, 6)  # numbers
    lines = []
    for i, line in enumerate([head, *cells]):
        padded = [
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        lines.append("  ".join(padded).rstrip())
        if i and rows[i - 1]["reason"]:
            lines.append(f"    {rows[i - 1]['reason']}")
    return "\n".join(lines)


def _result(row: Mapping[str, Any]) -> str:
    if row["success"] is not None:
        return f"success {row['success']:.3f}"
    if row["delta_m"] is not None:
        return f"delta_m {row['delta_m']:.2f}"
    if row["last_evaluation"] is not None:
        return f"success {row['last_evaluation']:.3f} so far"
    return ""


def _reason(status: Mapping[str, Any]) -> str | None:
    if status["state"] == "dead":
        return "Its process is gone. `--resume` continues from the last checkpoint."
    if status["state"] != "failed":
        return None
    first = str(status.get("error") or "unknown").strip().splitlines()[0]
    return first if len(first) <= _REASON_LENGTH else f"{first[: _REASON_LENGTH - 3]}..."


def _age(created: Any) -> float | None:
    try:
        return max(0.0, time.time() - datetime.fromisoformat(created).timestamp())
    except (TypeError, ValueError):
        return None


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _text(value: Any) -> str:
    return "-" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _delta_m(tests: Any) -> float | None:
    """Delta-m of the first test that has one."""
    if not isinstance(tests, list):
        return None
    found = (_number(test.get("delta_m")) for test in tests if isinstance(test, dict))
    return next((value for value in found if value is not None), None)


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _yaml(path: Path) -> dict[str, Any]:
    try:
        content = YAML(typ="safe", pure=True).load(path.read_text())
    except (OSError, ValueError, YAMLError):
        return {}
    return content if isinstance(content, dict) else {}
