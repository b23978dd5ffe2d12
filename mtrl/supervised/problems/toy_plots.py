"""Pictures of descents on the toy surfaces."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mtrl.supervised.problems.toy import Toy


def draw_run(problem: Toy, run: Path) -> list[Path]:
    """Draw one run."""
    return []


def draw_methods(problem: Toy, runs: Mapping[str, Path], picture: Path) -> Path | None:
    """Draw several."""
    return None
