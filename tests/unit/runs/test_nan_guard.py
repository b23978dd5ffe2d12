"""The NaN guard: what stops a run, and what does not."""

from __future__ import annotations

import torch

from mtrl.runs.nan_guard import NonFiniteGuard


def watch(guard: NonFiniteGuard, *, finite: bool = True, masked: bool = False) -> None:
    guard.watch(torch.tensor(finite), torch.tensor(masked))


def test_one_loss_that_is_not_finite_stops_a_run() -> None:
    guard = NonFiniteGuard(torch.device("cpu"))
    watch(guard)
    assert guard.problem(now=True) is None
    watch(guard, finite=False)
    watch(guard)
    assert "not finite" in (guard.problem(now=False) or "")


def test_a_hundred_updates_with_a_masked_task_stop_a_run() -> None:
    guard = NonFiniteGuard(torch.device("cpu"))
    for _ in range(100):
        assert guard.problem(now=True) is None
        watch(guard, masked=True)
    assert "100 updates in a row" in (guard.problem(now=True) or "")


def test_the_streak_ends_with_an_update_without_masked_tasks() -> None:
    guard = NonFiniteGuard(torch.device("cpu"))
    for _ in range(5):
        for _ in range(99):
            watch(guard, masked=True)
        watch(guard)
    assert guard.problem(now=True) is None
    for _ in range(99):  # and begins again at one
        watch(guard, masked=True)
    assert guard.problem(now=True) is None
