"""The tables of measurements on the page on speed, one section per bench."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mtrl.bench.page.figures import markdown, single_calls
from mtrl.bench.page.repeats import Results

Rows = Callable[[dict[str, Any]], list[dict[str, Any]]]
"""The rows of a table, from the result of a bench."""


def sections(results: Results) -> list[str]:
    """A table for each bench that has results."""
    return [
        line for title, bench, rows in _SECTIONS for line in _section(results, title, bench, rows)
    ]


def _section(results: Results, title: str, bench: str, rows: Rows) -> list[str]:
    found = [r for n, r in results.items() if n == bench or n.startswith(f"{bench}_")]
    if not found:
        return []
    return [f"### {title}", "", *markdown([row for result in found for row in rows(result)]), ""]


def _configuration(result: dict[str, Any]) -> dict[str, Any]:
    options = result["options"]
    notes = [
        note
        for note, on in (
            ("LayerNorm", options["layer_norm"]),
            ("fresh memory", options["fresh_memory"]),
            (options.get("dtype"), options.get("dtype") == "float64"),
        )
        if on
    ]
    sizes = {"m": options["tasks"], "b": options["batch"]}
    return sizes | {"width": options["width"], "notes": ", ".join(map(str, notes))}


_WAYS = ("plain sum", "task gradients", "combined", "own rows", "m backward")
_RATIOS = (
    "task gradients/plain sum",
    "combined/plain sum",
    "own rows/task gradients",
    "m backward/task gradients",
)


def _learner_rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    times = {f"{way} ms": result["ms"].get(way, "") for way in _WAYS}
    return [{**_configuration(result), **times, **{r: result.get(r, "") for r in _RATIOS}}]


def _update_rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        _configuration(result)
        | {key: row.get(key, "") for key in ("method", "ms", "method/ls", "ops")}
        for row in result["methods"]
    ]


def _env_rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [*result["tasks"], {"task": "mean"} | result["mean"]]


def _solver_rows(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "m": row["tasks"],
            "kind": row["kind"],
            "ours ms": row["newton"]["median_cpu_ms"],
            "least squares ms": row["scipy"]["median_cpu_ms"],
            "least squares/ours, single calls": single_calls(row),
            "least squares/ours, warm": row["speedup"],
            "residual": row["newton"]["worst_residual"],
        }
        for row in result["results"]
    ]


def _facts(result: dict[str, Any]) -> list[dict[str, Any]]:
    hidden = ("machines", "options", "config", "overrides", "modelled")
    return [{"fact": k, "value": v} for k, v in result.items() if k not in hidden]


_SECTIONS: list[tuple[str, str, Rows]] = [
    ("Environment steps, us", "env", _env_rows),
    ("Environment resets, ms", "reset", _env_rows),
    ("A worker's loop against bare steps, us per environment step", "rollout", lambda r: r["widths"]),
    ("Ray", "ray", lambda r: r["chunks"]),
    ("Workers against lockstep subprocesses, wall time", "scaling", lambda r: r["ways"]),
    ("Task gradients of the twin critics", "learner", _learner_rows),
    ("Whole update", "update", _update_rows),
    ("Weight solver", "solver", _solver_rows),
    ("Against metaworld-algorithms", "peers", lambda r: r["comparison"]),
    ("Training, wall time", "train", _facts),
    ("What one learner takes in", "ingest", _facts),
]  # fmt: skip
