"""One line about a run, from its directory."""

from __future__ import annotations

import json
from typing import Any

from mtrl.runs.directory import RunDirectory


def describe(run: RunDirectory) -> dict[str, Any]:
    """Name, state, counters, and the final success rate or Delta-m (None before the end)."""
    status = run.status()
    success = delta_m = None
    try:
        final = json.loads((run.path / "eval" / "final.json").read_text())
        success = final.get("mean_success_rate")
        delta_m = next((test.get("delta_m") for test in final.get("test", [])), None)
    except (OSError, ValueError):
        pass
    return {
        "name": run.path.name,
        "path": str(run.path),
        "state": status["state"],
        "env_steps": status.get("env_steps"),
        "updates": status.get("updates"),
        "success": success,
        "delta_m": delta_m,
    }
