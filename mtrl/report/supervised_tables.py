"""Tables of supervised runs, from their `eval/final.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

from mtrl.report.balance import balance_text


def end_of_run(result: Mapping[str, Any], run: Path) -> str:
    """What is printed when a run has been trained: its test results and its directory."""
    return f"{result_table(result)}\nrun: {run}"


def end_of_runs(results: Mapping[str, Mapping[str, Any]]) -> str:
    """What is printed when several runs have been trained: the table of balance, and the ranking."""
    measured = {name: [result["lowest_loss"]] for name, result in results.items()}
    return "\n".join(filter(None, [balance_text(measured), ranking(results)]))


def result_table(result: Mapping[str, Any]) -> str:
    """A run's test results as aligned text: a line for each metric, then Delta-m.

    Args:
        result: the content of `eval/final.json`.
    """
    lines = []
    several = len(result["test"]) > 1
    for i, test in enumerate(result["test"]):
        start = f"start {i}  " if several else ""
        for task, metrics in test["metrics"].items():
            for metric, value in metrics.items():
                behind = test.get("drops", {}).get(task, {}).get(metric)
                note = "" if behind is None else f"  {_beside_single_task(behind)}"
                lines.append(f"{start}{task:12} {metric:12} {value:10.4f}{note}")
        if "delta_m" in test:
            lines.append(
                f"{start}delta_m {test['delta_m']:.2f} (flat), {test['delta_m_task']:.2f} (per task);"
                f" variance {test['variance']:.1f}; epoch {result['selected_epoch']}"
            )
    return "\n".join(lines)


def ranking(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Several runs as a table, best Delta-m first; in the given order if a run has no Delta-m."""
    rows = []
    for name, result in results.items():
        tests = result["test"]
        metrics = [
            (f"{task} {metric}", value)
            for test in tests
            for task, row in test["metrics"].items()
            for metric, value in row.items()
        ]
        known = [test["delta_m"] for test in tests if "delta_m" in test]
        rows.append((name, float(np.mean(known)) if known else None, metrics))
    if all(delta is not None for _, delta, _ in rows):
        rows.sort(key=lambda row: row[1])
    heads = {tuple(name for name, _ in metrics) for _, _, metrics in rows}
    several = len(heads) > 1  # single-task runs, for example, have no common columns
    lines = [["run", "delta_m", *(["metrics"] if several else heads.pop())]]
    for name, delta, metrics in rows:
        cells = [f"{label} {value:.4f}" if several else f"{value:.4f}" for label, value in metrics]
        shown = ", ".join(cells)
        lines.append([name, _delta(delta), *([shown] if several else cells)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
        for line in lines
    )


def _delta(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _beside_single_task(drop: float) -> str:
    """A relative drop in percent, in words; a positive drop is worse."""
    return f"{abs(drop):8.2f} % {'worse' if drop > 0 else 'better'} than the single task"


def mean_ranks(
    table: np.ndarray, higher_is_better: np.ndarray, tasks: Sequence[str] | None = None
) -> np.ndarray:
    """The mean rank MR of each method, `[methods]`; ties share their mean rank.

    The flat mean is over all metrics; the tables of PIVRG, SAM-GS and RGB have it, and RGB ranks
    single-task training among the methods. The nested mean is within each task and then over tasks; RGB
    and Gama and Grassi (equation 2) print this formula. A rank depends on the methods in the table, so
    it must not be compared with ranks of another table.

    Args:
        table: `[methods, metrics]`.
        higher_is_better: `[metrics]`.
        tasks: for the nested mean, the task of each metric; None is flat.
    """
    ranks = rankdata(np.where(higher_is_better, -table, table), axis=0)
    if tasks is None:
        return ranks.mean(1)
    of = np.array(tasks)
    return np.mean([ranks[:, of == task].mean(1) for task in dict.fromkeys(tasks)], axis=0)
