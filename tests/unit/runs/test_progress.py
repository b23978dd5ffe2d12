"""What a person sees: the live picture and the plain line hold the facts."""

from __future__ import annotations

import io

from rich.console import Console

from mtrl.runs.progress import Column, PlainView, Progress, make_view, render

PROGRESS = Progress(
    title="a-run",
    done=0.25,
    seconds=65,
    seconds_left=3600,
    tasks=["reach-v3", "push-v3"],
    columns=[
        Column("success", [0.5, float("nan")], bar=True),
        Column("return", [123.4, float("nan")], ".0f"),
        Column("weight", [0.25, 4.0], ".3g"),
    ],
    facts={
        "env steps": "358,000 of 420,000",
        "env steps/s": "1,234",
        "updates/s": "17.1",
        "bottleneck": "learner (a GPU or smaller networks help)",
    },
)


def test_the_live_picture_shows_everything() -> None:
    console = Console(file=io.StringIO(), width=100, record=True)
    console.print(render(PROGRESS))
    text = console.export_text()
    for part in ("a-run", "reach-v3", "0.50", "123", "0.25", "358,000", "1,234", "17.1", "learner", "0:01:05", "1:00:00"):
        assert part in text
    assert "nan" not in text


def test_plain_lines_without_a_terminal() -> None:
    stream = io.StringIO()
    view = make_view(stream)
    assert isinstance(view, PlainView)
    view.update(PROGRESS)
    view.update(PROGRESS)  # too soon for a second line
    lines = stream.getvalue().splitlines()
    assert len(lines) == 1
    for part in ("25%", "success 0.50", "env steps/s 1,234", "left 1:00:00"):
        assert part in lines[0]
    assert "\x1b" not in stream.getvalue()
