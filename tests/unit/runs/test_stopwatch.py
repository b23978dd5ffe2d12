"""The stopwatch: parts that nest, errors, time from elsewhere."""

from __future__ import annotations

import pytest

from mtrl.runs import stopwatch
from mtrl.runs.stopwatch import Stopwatch


class Hands:
    """A clock that stands still between two moves."""

    now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    hands = Hands()
    monkeypatch.setattr(stopwatch, "time", hands)
    return hands


def test_time_belongs_to_the_innermost_part(hands: Hands) -> None:
    clock = Stopwatch()
    hands.now += 7.0
    with clock("outer"):
        hands.now += 1.0
        with clock("inner"):
            hands.now += 2.0
        hands.now += 4.0
        with clock("inner"):
            hands.now += 8.0
    hands.now += 16.0
    assert clock.take() == {"outer": 5.0, "inner": 10.0}
    assert clock.take() == {}


def test_an_error_ends_its_part(hands: Hands) -> None:
    clock = Stopwatch()
    with pytest.raises(KeyError), clock("outer"), clock("inner"):
        hands.now += 1.0
        raise KeyError
    with clock("after"):
        hands.now += 2.0
    assert clock.take() == {"outer": 0.0, "inner": 1.0, "after": 2.0}


def test_a_part_in_progress_counts_up_to_now(hands: Hands) -> None:
    clock = Stopwatch()
    with clock("open"):
        hands.now += 1.0
        assert clock.take() == {"open": 1.0}
        hands.now += 2.0
    clock.add("worker", 0.5)
    clock.add("worker", 0.5)
    assert clock.take() == {"open": 2.0, "worker": 1.0}
