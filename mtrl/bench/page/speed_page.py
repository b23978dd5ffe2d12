"""The page on speed: targets, tables and growth, from the raw JSON that the benchmarks print."""

from __future__ import annotations

import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mtrl.report.figures import Where, find, markdown, over_all, single_calls
from mtrl.report.growth import growth
from mtrl.report.repeats import Figure, Results, read_results
from mtrl.report.speed_summary import summary


def speed_page(folder: Path) -> str:
    """Write `<folder>.md` from the JSON files in a folder; returns the text.

    A file holds what `scripts/bench_X --json` printed and is named `X.json`, or `X_variant.json`;
    several runs are `X.1.json`, `X.2.json`, and so on. `notes.md` goes onto the page as it is.
    """
    results = read_results(folder)
    lines = [
        "# Speed",
        "",
        f"Made by `scripts/results speed results/{folder.name}` from the files in"
        f" `results/{folder.name}/`, each printed by the command named below (`--json`). Ratios were"
        " taken interleaved within one run, by processor time of the thread where nothing else is"
        " said. Where a benchmark ran several times, a figure is the median of the runs with the"
        " smallest and the largest in brackets. Absolute times vary by up to 2x with what else the"
        " machine does: see the load averages at the end. **Nothing here was measured on a GPU.**",
        "",
        "## In short",
        "",
        *summary(results),
        "",
        "## Targets",
        "",
        "*Within noise*: some runs meet the target and others miss it; the median decides. One run says"
        " nothing about noise.",
        "",
        *_targets(results),
        "",
        "## Measurements",
        "",
        *[line for title, kind, rows in _SECTIONS for line in _section(results, title, kind, rows)],
        *growth(results),
        *_notes(folder),
        "## Machine and commands",
        "",
        *_provenance(results),
    ]
    text = "\n".join(lines)
    folder.with_suffix(".md").write_text(text + "\n")
    return text


_RECORDED = ("gpu", "methods", {"method": "pivrg, device", "way": "recorded"})


# What, bound, figure.
_TARGETS: list[tuple[str, str, Where]] = [
    ("original step over fast step, MT10", ">= 2.5", ("env", "of_means", "original/fast")),
    ("fast step over bare physics", "<= 1.7", ("env", "of_means", "fast/floor")),
    ("fast reset over original", "<= 0.55", ("reset", "mean", "fast/original")),
    (
        "worker's loop over bare steps, 3x400, 4 environments a task",
        "<= 1.10",
        ("rollout", "widths", {"width": 400, "envs per task": 4}, "loop/steps"),
    ),
    (
        "worker's loop over bare steps, 3x1024, 8 environments a task",
        "<= 1.30",
        ("rollout", "widths", {"width": 1024, "envs per task": 8}, "loop/steps"),
    ),
    ("Ray's overhead at 50 steps, %", "<= 4", ("ray", "chunks", {"chunk": 50}, "overhead %")),
    ("Ray's overhead at 200 steps, %", "<= 1", ("ray", "chunks", {"chunk": 200}, "overhead %")),
    ("two workers over one", ">= 1.8", ("scaling", "ways", {"way": "2 workers"}, "over first")),
    (
        "two workers over AsyncVectorEnv of original environments",
        ">= 4",
        ("scaling", "ways", {"way": "2 workers"}, "over async"),
    ),
    ("task gradients over plain sum, 3x400", "<= 1.3", ("learner", "task gradients/plain sum")),
    (
        "task gradients over plain sum, 3x1024",
        "<= 1.7",
        ("learner_1024", "task gradients/plain sum"),
    ),
    (
        "m backward passes over the joint graph, over task gradients",
        ">= 4.5",
        ("learner", "m backward/task gradients"),
    ),
    ("largest difference, float32", "<= 1e-6", ("learner", "largest relative difference")),
    ("largest difference, float64", "<= 1e-12", ("learner_float64", "largest relative difference")),
    ("least squares over our solver, warm", ">= 40", ("solver", "speedup_min")),
    (
        "least squares over our solver, single calls",
        ">= 40",
        ("solver", "results", over_all(min, single_calls)),
    ),
    ("our solver's residual", "<= 1e-8", ("solver", "residual_max")),
    (
        "whole update over plain sum, PIVRG",
        "<= 1.25",
        ("update", "methods", {"method": "pivrg"}, "method/ls"),
    ),
    (
        "whole update over plain sum, Nash-MTL",
        "<= 1.25",
        ("update", "methods", {"method": "nash_mtl"}, "method/ls"),
    ),
    (
        "aten operations of an update, PIVRG",
        "<= 310",
        ("update", "methods", {"method": "pivrg"}, "ops"),
    ),
    ("update on a GPU, PIVRG, ms", "<= 0.6", (*_RECORDED, "ms")),
    ("the same over the plain sum", "<= 1.3", (*_RECORDED, "method/ls")),
    ("call by call over recorded", ">= 3", (*_RECORDED, "call by call/this")),
    ("environment steps/s with a GPU and 16 cores", ">= 15000", ("train_gpu", "env steps/s")),
]


def _targets(results: Results) -> list[str]:
    rows = []
    for what, target, path in _TARGETS:
        value = find(results, path)
        row = {"what": what, "target": target}
        if value is None:
            rows.append(row | {"measured": "", "runs": "", "met": "not measured"})
            continue
        runs = len(results[str(path[0])]["machines"])
        rows.append(row | {"measured": value, "runs": runs, "met": _met(value, *target.split())})
    return markdown(rows)


def _met(value: float, sign: str, bound: str) -> str:
    compare = operator.ge if sign == ">=" else operator.le
    verdict = "yes" if compare(value, float(bound)) else "**no**"
    runs = value.values if isinstance(value, Figure) else (value,)
    if len({compare(run, float(bound)) for run in runs}) == 1:
        return verdict
    return {"yes": "met, within noise", "**no**": "**missed, within noise**"}[verdict]


def _section(
    results: Results, title: str, kind: str, rows: Callable[[str, dict], list[dict]]
) -> list[str]:
    found = {n: r for n, r in results.items() if n == kind or n.startswith(f"{kind}_")}
    if not found:
        return []
    body = [row for name, result in found.items() for row in rows(name, result)]
    return [f"### {title}", "", *markdown(body), ""]


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


def _learner_rows(_: str, result: dict[str, Any]) -> list[dict[str, Any]]:
    times = {f"{way} ms": result["ms"].get(way, "") for way in _WAYS}
    return [{**_configuration(result), **times, **{r: result.get(r, "") for r in _RATIOS}}]


def _update_rows(_: str, result: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        _configuration(result)
        | {key: row.get(key, "") for key in ("method", "ms", "method/ls", "ops")}
        for row in result["methods"]
    ]


def _env_rows(_: str, result: dict[str, Any]) -> list[dict[str, Any]]:
    return [*result["tasks"], {"task": "mean"} | result["mean"]]


def _solver_rows(_: str, result: dict[str, Any]) -> list[dict[str, Any]]:
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


def _facts(_: str, result: dict[str, Any]) -> list[dict[str, Any]]:
    hidden = ("machines", "options", "config", "overrides", "modelled")
    return [{"fact": k, "value": v} for k, v in result.items() if k not in hidden]


_SECTIONS: list[tuple[str, str, Callable[[str, dict], list[dict]]]] = [
    ("Environment steps, us", "env", _env_rows),
    ("Environment resets, ms", "reset", _env_rows),
    ("A worker's loop against bare steps, us per environment step", "rollout", lambda _, r: r["widths"]),
    ("Ray", "ray", lambda _, r: r["chunks"]),
    ("Workers against lockstep subprocesses, wall time", "scaling", lambda _, r: r["ways"]),
    ("Task gradients of the twin critics", "learner", _learner_rows),
    ("Whole update", "update", _update_rows),
    ("Weight solver", "solver", _solver_rows),
    ("Against metaworld-algorithms", "peers", lambda _, r: r["comparison"]),
    ("Training, wall time", "train", _facts),
    ("What one learner takes in", "ingest", _facts),
]  # fmt: skip


def _notes(folder: Path) -> list[str]:
    path = folder / "notes.md"
    return [path.read_text()] if path.exists() else []


def _provenance(results: Results) -> list[str]:
    lines = []
    for name, result in results.items():
        runs: dict[str, list[str]] = {}
        for about in result["machines"]:
            runs.setdefault(_machine(about), []).append(
                f"{about['date'][:16]} (load {about['load']:.1f})"
            )
        for described, when in runs.items():
            lines.append(f"- `{name}`: {described}, {', '.join(when)}{_peer(result)}")
    return lines


def _machine(about: dict[str, Any]) -> str:
    """Command, commit, processor and versions of a run."""
    versions = ", ".join(
        f"{key} {about[key]}"
        for key in ("python", "torch", "mujoco", "metaworld", "numpy", "ray")
        if key in about
    )
    git = about.get("git")
    code = "commit not recorded"
    if git:
        code = f"commit {git['commit'][:7]}" + (" with changes" if git["dirty"] else "")
    return f"`{about['command']}`, {code}, {about['processor']}, {about['cores']} cores, {versions}"


def _peer(result: dict[str, Any]) -> str:
    """Which commit of another framework was measured, and on what."""
    about = result.get("peer")
    if about is None:
        return ""
    commit = about["commit"][:7] + (", modified" if about["modified"] else "")
    packages = ("python", "jax", "flax", "optax", "mujoco", "metaworld", "numpy", "gymnasium")
    versions = ", ".join(f"{key} {about[key]}" for key in packages)
    return f"; against {about['name']} ({commit}) on {versions}"
