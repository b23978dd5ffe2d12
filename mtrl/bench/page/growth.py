"""How cost grows with tasks, width, workers and nodes: measured for small sizes, modelled for large."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mtrl.bench.page.repeats import Results

_OBS_AND_ACTION = 43
_BYTES = 4 * (39 + 4 + 1)  # of a transition on its way: observation, action, reward


def growth(results: Results) -> list[str]:
    """The section on growth, from the results that exist."""
    lines = ["## How cost grows", ""]
    if "update" in results and "update_b32" in results:
        lines += _with_sizes(results)
    lines += _of_task_gradients(results)
    if "ingest" in results and "scaling" in results:
        lines += _with_workers(results)
    return lines


def flops(m: int, b: int, width: int, depth: int) -> float:
    """Floating-point operations of one SAC update: 16 forward passes of one network over `m b` rows.

    Targets take 3 (actor and two critics), the critics' step 6, the actor's 7 (its own forward pass
    and the critics', back through the critics to their input, and back through itself).
    """
    return 16 * 2 * m * b * trunk(m, width, depth)


def trunk(m: int, width: int, depth: int) -> float:
    """The number of weights of one trunk."""
    return (_OBS_AND_ACTION + m) * width + (depth - 1) * width**2


def _with_sizes(results: Results) -> list[str]:
    predict = _model(results["update"], results["update_b32"])
    rows = []
    for name, result in results.items():
        if name.split("_")[0] == "update" and not result["options"]["layer_norm"]:
            m, b, width, depth = _sizes(result)
            row = _pivrg(result)
            modelled = f"{predict(m, b, width, depth):,.0f}"
            rows.append((m, width, b, f"{row['ms']:,.0f}", modelled, f"{row['method/ls']:.2f}"))
    for m, width in ((50, 1024), (10, 2048)):
        rows.append((m, width, 128, "", f"{predict(m, 128, width, 3):,.0f}", ""))
    return [
        "**Tasks and width.** A whole PIVRG update on one core, three layers, no LayerNorm. The model"
        " has two terms: floating-point operations, 16 forward passes over `m b` rows, and what does not"
        " shrink with the batch, in proportion to the `m` trunk gradients that are written, multiplied"
        " and combined. Its two constants come from b = 128 and b = 32 at m = 10, width 400; the other"
        " rows test it. Both terms are linear in tasks and quadratic in width, so the ratio to the"
        " plain sum stays, except with small batches.",
        "",
        "| m | width | b | measured ms | modelled ms | measured over plain sum |",
        "|---|---|---|---|---|---|",
        *("| " + " | ".join(map(str, row)) + " |" for row in sorted(rows)),
        "",
    ]


def _model(large: dict[str, Any], small: dict[str, Any]) -> Callable[[int, int, int, int], float]:
    """Milliseconds of an update, fitted to two batch sizes of one configuration."""
    per_row = (_pivrg(large)["ms"] - _pivrg(small)["ms"]) / (
        flops(*_sizes(large)) - flops(*_sizes(small))
    )
    m, _, width, depth = _sizes(large)
    per_weight = (_pivrg(large)["ms"] - per_row * flops(*_sizes(large))) / (
        m * trunk(m, width, depth)
    )

    def predict(m: int, b: int, width: int, depth: int) -> float:
        return per_row * flops(m, b, width, depth) + per_weight * m * trunk(m, width, depth)

    return predict


def _of_task_gradients(results: Results) -> list[str]:
    found = [results[name] for name in ("learner", "learner_m25", "learner_m50") if name in results]
    if not found:
        return []
    passes = ", ".join(
        f"{r['m backward/task gradients']:.1f}x at m = {r['options']['tasks']}" for r in found
    )
    own = ", ".join(
        f"{r['own rows/task gradients']:.2f}x at m = {r['options']['tasks']}"
        for r in found
        if "own rows/task gradients" in r
    )
    extra = ", ".join(
        f"{100 * (r['ms']['combined'] - r['ms']['task gradients']) / r['ms']['plain sum']:.0f} %"
        for r in found
    )
    return [
        "m backward passes over ours, twin critics, width 400. Over the joint graph, as released code"
        f" does: {passes}; each of them multiplies all `m b` rows. A forward and backward pass of each"
        f" task on its own b rows: {own or 'not measured'}. The Gramian and the weighted sum add {extra}"
        " of the plain sum.",
        "",
    ]


def _with_workers(results: Results) -> list[str]:
    ways = {row["way"]: row["env steps/s"] for row in results["scaling"]["ways"]}
    one, ingest = ways["1 worker"], results["ingest"]
    limit = 1e6 / ingest["us per transition"]
    lines = [
        "**Workers and nodes.** Workers share nothing, so the model is"
        " `min(cores x one worker, what the learner takes in)`, where the learner takes in"
        " `1 / (ingest + r update)` transitions per second at r updates per transition. One worker did"
        f" {one:,.0f} steps/s; without updates the learner's limit is {limit:,.0f} transitions/s, or"
        f" {limit / one:.0f} cores. A transition is {_BYTES} bytes on its way, so a node of 64 workers"
        f" sends {64 * one * _BYTES / 1e6:.0f} MB/s. More than one node was not measured.",
        "",
        "| cores | env steps/s measured | env steps/s modelled |",
        "|---|---|---|",
    ]
    for cores in (1, 2, 16, 64, 256):
        way = f"{cores} worker{'s' * (cores > 1)}"
        measured = f"{ways[way]:,.0f}" if way in ways else ""
        lines.append(f"| {cores} | {measured} | {min(cores * one, limit):,.0f} |")
    table = ", ".join(
        f"{row['transitions/s']:,.0f} transitions/s at {row['updates per transition']:g}"
        for row in ingest["modelled"]
    )
    lines += [
        "",
        f"With updates on one CPU core ({ingest['update ms']:.0f} ms each at this size) the learner is"
        f" the limit by far: {table} updates per transition. A GPU's update is expected at 0.3 to 0.6 ms"
        " (an estimate, unmeasured), which would make 15,000 to 30,000 transitions/s at 0.1.",
        "",
    ]
    return lines


def _pivrg(result: dict[str, Any]) -> dict[str, Any]:
    return next(row for row in result["methods"] if row["method"] == "pivrg")


def _sizes(result: dict[str, Any]) -> tuple[int, int, int, int]:
    options = result["options"]
    return options["tasks"], options["batch"], options["width"], options["depth"]
