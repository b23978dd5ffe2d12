"""The performance that methods see: window, count, error, age, and what says nothing."""

from __future__ import annotations

import json
import math

import pytest

from mtrl.rl.acting.evaluation import Evaluation
from mtrl.rl.acting.fragment import Episode
from mtrl.rl.performance import PerformanceTracker


def episode(success: bool, **facts: int) -> Episode:
    return Episode(success, 10.0 * success, 5, **facts)  # type: ignore[arg-type]


def evaluation(*success: list[bool], policy_version: int = 0) -> Evaluation:
    return Evaluation(list(range(len(success[0]))), list(success), 50, policy_version)


def test_the_window_is_one_of_environment_steps() -> None:
    tracker = PerformanceTracker(2, 100, smoothing="none")
    for step, success in ((10, False), (20, True), (60, True), (110, True)):
        tracker.on_episode(0, episode(success), step)
    assert tracker.counts() == [3, 0]  # what ended at 10 is 100 steps old and has left
    assert tracker.rates()[0] == 1.0
    assert math.isnan(tracker.rates()[1])
    assert tracker.mean_returns()[0] == 10.0
    assert tracker.ages(110)[0] == (90 + 50 + 0) / 3
    tracker.on_episode(1, episode(True), 200)  # another task's episodes move the window too
    assert tracker.counts() == [1, 1]


@pytest.mark.parametrize("environments", [1, 8, 64])
def test_with_many_environments_an_episode_of_each_counts(environments: int) -> None:
    horizon = 10
    tracker = PerformanceTracker(1, 100, round_env_steps=environments * horizon)
    for count in range(300):  # their ends are spread evenly over a round
        tracker.on_episode(0, episode(True), count * horizon)
    assert tracker.counts() == [max(10, environments)]


def test_partial_and_diverged_episodes_say_nothing() -> None:
    tracker = PerformanceTracker(1, 100)
    tracker.on_episode(0, episode(False, partial=True), 1)
    tracker.on_episode(0, episode(False, diverged=True), 2)
    assert tracker.counts() == [0]


def test_episodes_that_began_in_warm_up_say_nothing() -> None:
    tracker = PerformanceTracker(1, 100)
    tracker.on_episode(0, episode(False, policy_version=-1), 1)
    assert tracker.counts() == [0]
    assert math.isnan(tracker.success()[0])
    tracker.on_episode(0, episode(True, policy_version=0), 2)
    assert tracker.counts() == [1]


def test_a_task_speaks_from_the_minimum_count_on() -> None:
    tracker = PerformanceTracker(2, 1000, min_episodes=3)
    for count in range(1, 4):
        tracker.on_episode(0, episode(True), count)
        tracker.on_episode(1, episode(count > 1), count)
        known = [not math.isnan(rate) for rate in tracker.rates()]
        assert known == [count >= 3] * 2
    assert [math.isnan(error) for error in tracker.standard_errors()] == [False] * 2
    # Within chance, so both have the rate of all six: (5 + 1/2) / (6 + 1).
    assert tracker.tensor("cpu").tolist() == pytest.approx([5.5 / 7] * 2)
    assert tracker.standard_errors() == pytest.approx([math.sqrt(5.5 / 7 * 1.5 / 7 / 3)] * 2)
    assert tracker.success() == pytest.approx([1.0, 2 / 3])  # the chart shows the plain rate


def test_a_task_that_is_not_known_does_not_touch_the_others() -> None:
    tracker = PerformanceTracker(2, 1000, min_episodes=2)
    for step in (1, 2):
        tracker.on_episode(0, episode(True), step)
    tracker.on_episode(1, episode(False), 3)
    assert tracker.rates()[0] == pytest.approx((2 + 2.5 / 3) / 3, abs=0.2)
    assert math.isnan(tracker.rates()[1])


def test_evaluation_as_the_source() -> None:
    tracker = PerformanceTracker(2, 100, source="evaluation", smoothing="none", round_env_steps=999)
    tracker.on_episode(0, episode(True), 1)
    assert math.isnan(tracker.tensor("cpu")[0])
    tracker.on_evaluation(evaluation([True, False, False, False], [True] * 4), 10)
    assert tracker.tensor("cpu").tolist() == [0.25, 1.0]
    assert tracker.counts() == [4, 4]
    assert tracker.ages(15) == [5, 5]
    tracker.on_evaluation(evaluation([True] * 4, [False] * 4), 60)  # both lie within the window
    assert tracker.tensor("cpu").tolist() == [5 / 8, 0.5]
    tracker.on_evaluation(evaluation([False] * 4, [False] * 4), 159)
    assert tracker.counts() == [8, 8]
    assert tracker.success() == [1.0, pytest.approx(math.nan, nan_ok=True)]


def test_a_reset_of_the_networks_forgets_their_episodes() -> None:
    for source in ("training", "evaluation"):
        tracker = PerformanceTracker(1, 1000, source=source)
        tracker.on_episode(0, episode(True, policy_version=5), 10)
        tracker.on_evaluation(evaluation([True], policy_version=5), 10)
        tracker.on_reset(policy_version=8)
        assert tracker.counts() == [0]
        assert math.isnan(tracker.success()[0])
        # Under way at the reset, with the old networks.
        tracker.on_episode(0, episode(True, policy_version=7), 20)
        tracker.on_evaluation(evaluation([True], policy_version=7), 20)
        assert tracker.counts() == [0]
        tracker.on_episode(0, episode(True, policy_version=8), 30)
        tracker.on_evaluation(evaluation([True], policy_version=8), 30)
        assert tracker.counts() == [1]


@pytest.mark.parametrize("source", ["training", "evaluation"])
def test_a_restored_tracker_goes_on_alike(source: str) -> None:
    def make() -> PerformanceTracker:
        return PerformanceTracker(2, 100, source=source, min_episodes=2)  # type: ignore[arg-type]

    def act(tracker: PerformanceTracker, steps: range) -> None:
        for step in steps:
            tracker.on_episode(step % 2, episode(step % 3 > 0, policy_version=step), step)
            if step % 11 == 0:
                tracker.on_episode(0, episode(False, diverged=True), step)
            if step % 7 == 0:
                tracker.on_evaluation(evaluation([step % 2 > 0], [True], policy_version=step), step)

    straight, first, second = make(), make(), make()
    straight.on_reset(20)
    first.on_reset(20)
    act(straight, range(300))
    act(first, range(150))
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert second.rates() == first.rates()
    assert second.ages(150) == first.ages(150)
    act(second, range(150, 300))
    for tracker in (straight, second):
        tracker.on_episode(0, episode(True, policy_version=19), 301)  # from before the reset
    assert second.state_dict() == straight.state_dict()
    assert second.rates() == straight.rates()
    assert (second.episodes, second.diverged) == (329, 28)  # one of them from before the reset
