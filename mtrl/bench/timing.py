"""Time calls that take turns, and compare them within a round."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

Spent = TypeVar("Spent")


def thread_seconds(call: Callable[[], Any]) -> float:
    """CPU time of this thread during the call; other processes change it little."""
    start = time.thread_time()
    call()
    return time.thread_time() - start


def process_seconds(call: Callable[[], Any], times: int) -> dict[str, float]:
    """Seconds of so many calls: `cpu`, of all threads of this process, and `wall`."""
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(times):
        call()
    return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


def take_turns(turns: Mapping[str, Callable[[], Spent]], rounds: int) -> dict[str, list[Spent]]:
    """What each turn returns in each round; the order of the turns alternates.

    One more round comes first. It warms caches up and does not count.
    """
    results: dict[str, list[Spent]] = {name: [] for name in turns}
    for number in range(rounds + 1):
        order = list(turns) if number % 2 else list(turns)[::-1]
        for name in order:
            result = turns[name]()
            if number:
                results[name].append(result)
    return results


def interleave(calls: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each call in each round; the calls take turns, the order alternates."""
    clocked = {name: functools.partial(thread_seconds, call) for name, call in calls.items()}
    return take_turns(clocked, rounds)


def paired_ratio(numerator: Sequence[float], denominator: Sequence[float]) -> float:
    """The median over rounds of the ratio of two calls in the same round."""
    return statistics.median(a / b for a, b in zip(numerator, denominator, strict=True))


def lower_quartile(values: Sequence[float]) -> float:
    """The 25 % quantile: close to the undisturbed time, and steadier than the minimum."""
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=4, method="inclusive")[0]
