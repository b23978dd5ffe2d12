"""How cost grows with tasks, width, workers and nodes: measured as far as it goes, modelled beyond."""

from __future__ import annotations

from typing import Any

Results = dict[str, dict[str, Any]]

_OBS_AND_ACTION = 43
_BYTES = 4 * (39 + 4 + 1)  # of a transition on its way: observation, action, reward


def growth(results: Results) -> list[str]:
    """The section, from the results that are there."""
    lines = ["## How cost grows", ""]
    if "update" in results:
        lines += _with_sizes(results)
    if "ingest" in results and "scaling" in results:
        lines += _with_workers(results)
    return lines


def flops(m: int, b: int, width: int, depth: int) -> float:
    """Of one SAC update: 16 forward passes of one network over `m b` rows.

    Targets take 3 (actor and two critics), the critics' step 6, the actor's 7 (its own forward pass
    and the critics', back through the critics to their input, and back through itself).
    """
    row = 2 * ((_OBS_AND_ACTION + m) * width + (depth - 1) * width**2)
    return 16 * m * b * row


def _with_sizes(results: Results) -> list[str]:
    base = results["update"]
    scale = _pivrg(base)["ms"] / flops(*_sizes(base))
    rows = []
    for name, result in results.items():
        same = result.get("options", {}).get("layer_norm") is False
        if name.split("_")[0] == "update" and same:
            m, b, width, depth = _sizes(result)
            row = _pivrg(result)
            modelled = scale * flops(m, b, width, depth)
            rows.append(
                (m, width, b, f"{row['ms']:.0f}", f"{modelled:.0f}", f"{row['method/ls']:.2f}")
            )
    for m, b, width in ((50, 128, 1024), (10, 128, 2048)):
        modelled = scale * flops(m, b, width, 3)
        rows.append((m, width, b, "", f"{modelled:.0f}", ""))
    lines = [
        "**Tasks and width.** A whole PIVRG update on one core, three layers, no LayerNorm. The model is"
        " the time at m = 10, b = 128, width 400 times the ratio of floating-point operations, 16"
        " forward passes over `m b` rows: linear in tasks and batch, quadratic in width. The Gramian"
        " adds `m^2` times the trunk's size and stays below a tenth up to m = 50; published m backward"
        " passes grow with `m^2 b` instead.",
        "",
        "| m | width | b | measured ms | modelled ms | measured over plain sum |",
        "|---|---|---|---|---|---|",
        *("| " + " | ".join(map(str, row)) + " |" for row in sorted(rows)),
        "",
    ]
    tasks = sorted(
        (r["options"]["tasks"], r["m backward/task gradients"])
        for name, r in results.items()
        if name in ("learner", "learner_m25", "learner_m50")
    )
    if tasks:
        grown = ", ".join(f"{ratio:.1f}x at m = {m}" for m, ratio in tasks)
        lines += [f"m backward passes over ours, twin critics, width 400: {grown}.", ""]
    return lines


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
