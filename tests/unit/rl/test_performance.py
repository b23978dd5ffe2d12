"""The performance that methods see: window, count, age, and what says nothing."""

from __future__ import annotations

import math

from mtrl.rl.fragment import Episode
from mtrl.rl.performance import PerformanceTracker


def episode(success: bool, **facts: bool) -> Episode:
    return Episode(success, 10.0 * success, 5, **facts)


def test_window_count_and_age() -> None:
    tracker = PerformanceTracker(2, window=2)
    assert math.isnan(tracker.tensor("cpu")[0])
    for step, success in ((10, False), (20, True), (30, True)):
        tracker.update(0, episode(success), step)
    assert tracker.tensor("cpu")[0] == 1.0  # the failure has left the window
    assert tracker.counts() == [2, 0]
    assert tracker.ages(35) == [5, 35]
    assert math.isnan(tracker.success()[1])
    assert tracker.mean_returns()[0] == 10.0


def test_partial_and_diverged_episodes_say_nothing() -> None:
    tracker = PerformanceTracker(1, window=5)
    tracker.update(0, episode(False, partial=True), 1)
    tracker.update(0, episode(False, diverged=True), 2)
    assert tracker.counts() == [0]


def test_evaluation_as_the_source() -> None:
    tracker = PerformanceTracker(1, window=5, source="evaluation")
    tracker.update(0, episode(True), 1)
    assert math.isnan(tracker.tensor("cpu")[0])
    tracker.set_evaluation([0.25], 10)
    assert tracker.tensor("cpu").tolist() == [0.25]
    assert tracker.ages(15) == [5]


def test_state_round_trip() -> None:
    tracker = PerformanceTracker(2, window=3)
    tracker.update(1, episode(True), 7)
    tracker.set_evaluation([0.1, 0.2], 9)
    other = PerformanceTracker(2, window=3)
    other.load_state_dict(tracker.state_dict())
    assert other.state_dict() == tracker.state_dict()
