"""Draw what `mtrl bench omega` found: omega under each estimate of success rates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")

COLOURS = ("tab:red", "tab:orange", "tab:blue")


def draw_picture(
    result: dict[str, Any], equal: list[float], behind: list[float], path: Path
) -> None:
    """Write three panels: equal tasks, one task that lags behind, and errors of omega.

    Args:
        result: of `mtrl bench omega`.
        equal: true rates of the first panel.
        behind: true rates of the second panel.
        path: of the picture.
    """
    import matplotlib.pyplot as plt

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(15, 4.6), layout="constrained")
    for label, colour in zip(result["equal"], COLOURS, strict=True):
        for axes, x, key in ((left, equal, "equal"), (middle, behind, "lagging")):
            low, centre, high = np.array(result[key][label]).T
            axes.fill_between(x, low, high, alpha=0.15, color=colour)
            axes.plot(x, centre, "o-", markersize=4, label=label, color=colour)
    middle.plot(behind, result["lagging_true"], "k--", label="of the true rates")
    left.axhline(1.0, color="black", linestyle="--", label="of the true rates")
    left.set(
        title="Ten tasks of one true rate", xlabel="true success rate",
        ylabel="largest omega / smallest (at most 2)", ylim=(0.95, 2.05),
    )  # fmt: skip
    middle.set(
        title="One task lags behind nine at 0.9", xlabel="its true success rate", ylabel="its omega"
    )
    _errors(right, result["rows"])
    for axes in (left, middle):
        axes.grid(alpha=0.3)
    left.legend(fontsize=8, loc="center left")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _errors(axes: Any, rows: list[dict[str, Any]]) -> None:
    """A bar per situation and estimate."""
    names = list(dict.fromkeys(row["tasks"] for row in rows))
    labels = dict.fromkeys(row["estimate"] for row in rows)
    for i, (label, colour) in enumerate(zip(labels, COLOURS, strict=True)):
        errors = [row["error"] for row in rows if row["estimate"] == label]
        places = np.arange(len(names)) + (1 - i) * 0.26
        axes.barh(places, errors, 0.26, color=colour, label=label)
    axes.set_yticks(np.arange(len(names)), names)
    axes.invert_yaxis()
    axes.set(title="Chance in omega", xlabel="root mean square error of omega")
    axes.grid(alpha=0.3, axis="x")
