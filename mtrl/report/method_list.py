"""Describe the balancing methods, for `mtrl methods`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mtrl.balancing import METHODS, build, method_options


def describe_methods() -> list[dict[str, Any]]:
    """One record for each method, in the order of `METHODS`."""
    return [
        {
            "name": name,
            "paper": method.paper,
            "needs": [str(flag.name).lower() for flag in method.needs] or ["nothing"],
            "state": [key for key, _ in build(name, 2, 2, **method.example_options).named_buffers()]
            or ["none"],
            "positive_losses": method.positive_losses,
            "scale": method.scale,
            "checked_against": method.checked_against,
            "differs": method.differs,
            "options": {k: p.default for k, p in method_options(name).items()},
        }
        for name, method in METHODS.items()
    ]


def method_text(row: Mapping[str, Any]) -> str:
    """A record as text of a few lines."""
    positive = " (positive losses)" if row["positive_losses"] else ""
    indent = " " * 13
    lines = [
        f"{row['name']:12} {row['paper']}",
        f"{indent}needs {', '.join(row['needs'])}{positive}; state {', '.join(row['state'])}; scale:"
        f" {row['scale']}",
        f"{indent}checked against {row['checked_against']}",
        f"{indent}differs: {row['differs']}",
        *(f"{indent}  {key} = {default}" for key, default in row["options"].items()),
    ]
    return "\n".join(lines)
