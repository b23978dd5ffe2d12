"""The table and the picture at the end of a run, from the files in its directory."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtrl.extras import install_command
from mtrl.runs.metric_log import read_jsonl


def end_of_run(run: Path) -> str:
    """The text printed after training: success rates, the picture, the run directory."""
    final, lines = run / "eval" / "final.json", []
    if final.is_file():
        lines.append(success_text(json.loads(final.read_text()), "last checkpoint"))
    picture = curves(run)
    if picture is not None:
        lines.append(f"curves: {picture}")
    return "\n".join([*lines, f"run: {run}"])


def success_text(evaluation: Mapping[str, Any], checkpoint: str) -> str:
    """Success rates as aligned text, with bars, and their mean.

    Args:
        evaluation: the content of `eval/final.json`.
        checkpoint: which checkpoint was evaluated, in words.
    """
    rates = evaluation["success_rate"]
    width = max(map(len, rates))
    rows = [
        f"{name:{width}}  {rate:5.2f}  {'█' * round(20 * rate)}" for name, rate in rates.items()
    ]
    mean, goals = evaluation["mean_success_rate"], len(evaluation["goals"])
    rows.append(f"mean success rate: {mean:.3f} ({goals} goals per task, {checkpoint})")
    return "\n".join(rows)


def curves(run: Path) -> Path | None:
    """Draw `curves.png`: success rates and balance weights over environment steps.

    Returns:
        The file, or None if there is nothing to draw or matplotlib is not installed.
    """
    records = read_jsonl(run / "metrics.jsonl")
    if not any("charts/mean_success_rate" in record for record in records):
        return None
    try:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt
    except ImportError:
        print(
            f"No curves.png: matplotlib is missing. Repair: {install_command('plot')}",
            file=sys.stderr,
        )
        return None
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 5), layout="constrained")
    tasks = _tasks(records)
    for i, task in enumerate(tasks):
        style = {"color": plt.get_cmap("tab20")(i % 20), "linewidth": 1.0, "label": task}
        left.plot(*_series(records, f"charts/{task}_success_rate"), **style)
        right.plot(*_series(records, f"balance/weight/critic/{task}"), **style)
    left.plot(
        *_series(records, "charts/mean_success_rate"), color="black", linewidth=2.5, label="mean"
    )
    left.plot(
        *_series(records, "eval/mean_success_rate", "evaluated_at"),
        "kD",
        markersize=5,
        label="mean, evaluation",
    )
    final = _series(records, "final/mean_success_rate", "evaluated_at")
    if final[0]:
        left.plot(*final, "r*", markersize=14, label="mean, final evaluation")
    left.set(
        xlabel="environment steps (all tasks)",
        ylabel="success rate",
        ylim=(-0.03, 1.03),
        title="Success (last training episodes)",
    )
    right.set(
        xlabel="environment steps (all tasks)",
        ylabel="weight",
        title="Balance weights of the critic",
    )
    if any(record.get(f"balance/weight/critic/{tasks[0]}") for record in records):
        right.set_yscale("log")
    else:
        right.text(
            0.5, 0.5, "the method has no task weights", ha="center", transform=right.transAxes
        )
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.ticklabel_format(axis="x", style="sci", scilimits=(0, 0))
    figure.legend(*left.get_legend_handles_labels(), loc="outside right center", fontsize=8)
    figure.suptitle(run.name)
    path = run / "curves.png"
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path


def _tasks(records: Sequence[dict[str, Any]]) -> list[str]:
    prefix, suffix = "charts/", "_success_rate"
    record = next(r for r in records if "charts/mean_success_rate" in r)
    return [
        key.removeprefix(prefix).removesuffix(suffix)
        for key in record
        if key.startswith(prefix) and key.endswith(suffix) and key != "charts/mean_success_rate"
    ]


def _series(
    records: Sequence[dict[str, Any]], key: str, x: str = "env_steps"
) -> tuple[list[float], list[float]]:
    points = [(r[x], r[key]) for r in records if r.get(key) is not None]
    return [p[0] for p in points], [p[1] for p in points]
