"""Tables of aligned text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def text_table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Rows with the same keys, aligned; floats above 10 without decimals."""
    rows = list(rows)
    cells = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in cells
    )


def _cell(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.2f}"
