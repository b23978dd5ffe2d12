"""Replay: n-step returns by hand, the ring, sampling, refusals, state."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mtrl.rl.learning.replay import Replay
from tests.helpers import make_fragment


def make_replay(capacity: int = 100, n_step: int = 1, discount: float = 0.5) -> Replay:
    return Replay(2, capacity, 4, 2, discount=discount, n_step=n_step)


def stored(replay: Replay, task: int = 0) -> dict[str, list[float]]:
    size = int(replay.sizes[task])
    rings = replay.rings
    return {
        "obs": rings.obs[task, :size, 0].tolist(),
        "next": rings.next_obs[task, :size, 0].tolist(),
        "reward": rings.reward[task, :size].tolist(),
        "discount": rings.discount[task, :size].tolist(),
    }


def test_one_step_transitions() -> None:
    replay = make_replay()
    replay.add(make_fragment(3, start=10))
    assert stored(replay) == {
        "obs": [10, 11, 12],
        "next": [11, 12, 13],
        "reward": [0, 1, 2],
        "discount": [0.5, 0.5, 0.5],
    }


def test_n_step_returns_by_hand() -> None:
    replay = make_replay(n_step=3)
    replay.add(make_fragment(4))  # rewards 0 1 2 3
    assert stored(replay) == {
        "obs": [0, 1, 2, 3],
        "next": [3, 4, 4, 4],  # the last steps bootstrap from the end of the fragment
        "reward": [0 + 0.5 + 0.25 * 2, 1 + 0.5 * 2 + 0.25 * 3, 2 + 0.5 * 3, 3],
        "discount": [0.125, 0.125, 0.25, 0.5],
    }


def test_a_time_limit_bootstraps_and_a_terminal_step_does_not() -> None:
    replay = make_replay(n_step=2)
    replay.add(make_fragment(3, ended=True))
    assert stored(replay)["discount"] == [0.25, 0.25, 0.5]
    replay = make_replay(n_step=2)
    replay.add(make_fragment(3, terminated=True))
    assert stored(replay)["discount"] == [0.25, 0.0, 0.0]


def test_the_true_last_observation_is_kept() -> None:
    replay = make_replay()
    replay.add(make_fragment(3, start=0, ended=True))
    replay.add(make_fragment(2, start=100))
    assert stored(replay)["next"] == [1, 2, 3, 101, 102]


@settings(max_examples=50, deadline=None)
@given(lengths=st.lists(st.integers(1, 17), min_size=1, max_size=8), capacity=st.integers(1, 20))
def test_the_ring_holds_the_newest(lengths: list[int], capacity: int) -> None:
    replay = make_replay(capacity)
    start, everything = 0.0, []
    for length in lengths:
        replay.add(make_fragment(length, start=start))
        everything += [start + t for t in range(length)]
        start += 1000
    assert sorted(stored(replay)["obs"]) == sorted(everything[-capacity:])
    assert replay.sizes.tolist() == [min(capacity, len(everything)), 0]


def test_samples_come_from_their_own_task() -> None:
    replay = make_replay()
    replay.add(make_fragment(5, start=0))
    replay.add(make_fragment(50, task=1, start=100))
    batch = replay.sample(4000)
    assert batch.obs.shape == (2, 4000, 4)
    assert set(batch.obs[0, :, 0].tolist()) == set(range(5))
    assert set(batch.obs[1, :, 0].tolist()) == set(range(100, 150))
    assert (batch.next_obs - batch.obs == 1).all()
    counts = np.bincount(batch.obs[0, :, 0].long().numpy())
    assert abs(counts - 800).max() < 150  # uniform: five sigma of a binomial is 126


@pytest.mark.parametrize("field", ["obs", "action", "reward"])
def test_numbers_that_are_not_finite_are_refused(field: str) -> None:
    fragment = make_fragment(3)
    broken = np.array(getattr(fragment, field))
    broken.flat[1] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        make_replay().add(dataclasses.replace(fragment, **{field: broken}))


def test_wrong_shapes_are_refused() -> None:
    fragment = make_fragment(3)
    with pytest.raises(ValueError, match="should have obs"):
        make_replay().add(dataclasses.replace(fragment, obs=fragment.obs[:-1]))


@pytest.mark.parametrize("read", [lambda r: r.sample(3), lambda r: r.reward_means()])
def test_a_task_without_data_is_never_sampled(read: Callable[[Replay], object]) -> None:
    replay = make_replay()
    replay.add(make_fragment(3))
    with pytest.raises(ValueError, match="none of task 1"):
        read(replay)
    replay.add(make_fragment(1, task=1))
    read(replay)


def test_state_round_trip_continues_the_same_samples() -> None:
    replay, other = make_replay(10), make_replay(10)
    replay.add(make_fragment(13))
    replay.add(make_fragment(4, task=1))
    replay.sample(5)
    other.load_state_dict(replay.state_dict())
    for a, b in zip(replay.sample(6), other.sample(6), strict=True):
        assert torch.equal(a, b)
    replay.add(make_fragment(2, start=50))
    other.add(make_fragment(2, start=50))
    assert stored(replay) == stored(other)
    with pytest.raises(ValueError, match="own config"):
        make_replay(5).load_state_dict(replay.state_dict())
