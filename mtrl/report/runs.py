"""One line about a run, from its directory."""

from __future__ import annotations

import json
from typing import Any

from mtrl.runs.directory import RunDirectory


def describe(run: RunDirectory) -> dict[str, Any]:
    """Name, state, counters and the final success rate (None before the end)."""
    status = run.status()
    success = None
    try:
        final = json.loads((run.path / "eval" / "final.json").read_text())
        success = final["mean_success_rate"]
    except (OSError, ValueError, KeyError):
        pass
    return {
        "name": run.path.name,
        "path": str(run.path),
        "state": status["state"],
        "env_steps": status.get("env_steps"),
        "updates": status.get("updates"),
        "success": success,
    }
