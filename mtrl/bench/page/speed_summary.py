"""The few rows on speed that the README repeats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mtrl.bench.page.figures import Where, find, markdown, number, over_all, single_calls
from mtrl.bench.page.repeats import Results

_PEER = "factor in mtrl's favour"


def _way(name: str, ratio: str) -> Where:
    return ("scaling", "ways", {"way": name}, ratio)


def _peer(what: str) -> Where:
    return ("peers", "comparison", {"what": what}, _PEER)


def _warm(record: dict[str, Any]) -> float:
    return record["speedup"]


def _solver(choose: Callable[..., float], ratio: Callable[[dict[str, Any]], float]) -> Where:
    return ("solver", "results", over_all(choose, ratio))


# What the row compares, then its entries: a label, and one figure or the two ends of a range.
_ROWS: list[tuple[str, list[tuple[str, *tuple[Where, ...]]]]] = [
    (
        "a step of Meta-World, the original over ours",
        [("MT10", ("env", "of_means", "original/fast"))],
    ),
    (
        "all task gradients over one backward pass of the sum",
        [
            ("alone", ("learner", "task gradients/plain sum")),
            (
                "with the Gramian and the combination, which every method needs",
                ("learner", "combined/plain sum"),
            ),
            (
                "the latter with 32 samples of a task, not 128",
                ("learner_b32", "combined/plain sum"),
            ),
        ],
    ),
    (
        "a backward pass for each of 10 tasks, over ours",
        [
            ("over each task's own rows", ("learner", "own rows/task gradients")),
            (
                "over the joint graph, as in released code",
                ("learner", "m backward/task gradients"),
            ),
        ],
    ),
    (
        "a whole update, PIVRG over the plain sum",
        [
            ("128 samples of a task", ("update", "methods", {"method": "pivrg"}, "method/ls")),
            (
                "32 samples",
                ("update_b32", "methods", {"method": "pivrg"}, "method/ls"),
            ),
        ],
    ),
    (
        "released least squares over our weight solver, least and most over ten kinds of matrices",
        [
            ("single calls", _solver(min, single_calls), _solver(max, single_calls)),
            ("warm", _solver(min, _warm), _solver(max, _warm)),
        ],
    ),
    (
        "steps collected by two workers, on two cores",
        [
            ("over one worker", _way("2 workers", "over first")),
            ("over AsyncVectorEnv with the original environments", _way("2 workers", "over async")),
            ("with ours", _way("2 workers", "over async fast")),
        ],
    ),
    (
        "beside metaworld-algorithms on CPU JAX, in our favour",
        [
            ("plain update", _peer("update, plain sum, cpu ms")),
            ("PCGrad update", _peer("update, PCGrad, cpu ms")),
            ("steps collected by two workers", _peer("env steps/s, 2 workers")),
        ],
    ),
]


def summary(results: Results) -> list[str]:
    """A table of ratios: of times, or of steps collected in the same time."""
    return markdown(
        [
            {"what": what, "ratio": "; ".join(_cell(results, *part) for part in parts)}
            for what, parts in _ROWS
        ]
    )


def _cell(results: Results, label: str, *figures: Where) -> str:
    found = [find(results, where) for where in figures]
    span = ["not measured" if figure is None else number(figure) for figure in found]
    return f"{label}: {' to '.join(dict.fromkeys(span))}"
