"""RGB's table of gradient balance at the lowest mean validation loss (figure 5 of its paper)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

COLUMNS = ("method", "delta_m", "loss", "conflict", "proximity", "turn", "kappa", "MER", "raw MER")


def balance_rows(groups: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[list[str]]:
    """A row of :data:`COLUMNS` for each method, the highest MER balance first.

    Conflict, Proximity, condition number (kappa) and MER balance are of the rows that the method
    combines; `raw MER` is of the task gradients. `turn` is `2 asin sqrt(P)`, the angle in degrees by
    which all rows turn if their proximity is P. All numbers are means over runs.

    Args:
        groups: method -> the `lowest_loss` of the results of its runs. A method is left out if one of
            its runs has no record at that epoch.
    """
    known = {
        name: runs
        for name, runs in groups.items()
        if runs and all(run.get("balance/raw_mer_balance") is not None for run in runs)
    }

    def mean(name: str, key: str) -> float:
        values = [math.nan if run.get(key) is None else run[key] for run in known[name]]
        return float(np.mean(values))

    rows = []
    for name in sorted(known, key=lambda name: -mean(name, "balance/mer_balance")):
        proximity = mean(name, "balance/proximity")
        turn = math.degrees(2.0 * math.asin(math.sqrt(min(max(proximity, 0.0), 1.0))))
        rows.append(
            [
                name,
                f"{mean(name, 'val/delta_m'):.1f}",
                f"{mean(name, 'loss'):.4f}",
                f"{mean(name, 'balance/conflict'):.3f}",
                f"{proximity:.1e}",
                f"{turn:.2f}",
                f"{mean(name, 'balance/condition_number'):.2f}",
                f"{mean(name, 'balance/mer_balance'):.3f}",
                f"{mean(name, 'balance/raw_mer_balance'):.3f}",
            ]
        )
    return rows


def balance_text(groups: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """The table as aligned text; empty if nothing was recorded."""
    rows = balance_rows(groups)
    if not rows:
        return ""
    table = [list(COLUMNS), *rows]
    widths = [max(len(row[i]) for row in table) for i in range(len(COLUMNS))]
    lines = ["at the lowest mean validation loss:"]
    for name, *cells in table:
        aligned = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *aligned]))
    return "\n".join(lines)
