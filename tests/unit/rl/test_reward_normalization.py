"""The reward normalisation of the balancing papers' code base, against its formula."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mtrl.rl.acting.reward_normalization import RunningRewardScale


def normalised(rewards: list[float], rate: float) -> list[float]:
    """Every mean and variance written as a weighted sum over all rewards so far."""
    answers, means = [], []
    for t, reward in enumerate(rewards):
        weights = [rate * (1 - rate) ** (t - s) for s in range(t + 1)]
        means.append(sum(w * r for w, r in zip(weights, rewards, strict=False)))
        squares = [(r - mean) ** 2 for r, mean in zip(rewards, means, strict=False)]
        variance = (1 - rate) ** (t + 1) + sum(w * s for w, s in zip(weights, squares, strict=True))
        answers.append(reward / (math.sqrt(variance) + 1e-8))
    return answers


@pytest.mark.parametrize("rate", [0.001, 0.2])
def test_rewards_are_divided_by_the_running_deviation(rate: float) -> None:
    rewards = np.random.default_rng(0).uniform(0, 10, 40).tolist()
    scale = RunningRewardScale(rate)
    found = [scale(reward) for reward in rewards]
    assert found == pytest.approx(normalised(rewards, rate), rel=1e-12)
    assert abs(found[-1] - rewards[-1]) > 0.1, "and differ from the rewards themselves"


def test_the_default_rate_is_the_papers() -> None:
    assert RunningRewardScale().rate == 0.001


def test_a_restored_scale_goes_on() -> None:
    scale, other = RunningRewardScale(), RunningRewardScale()
    scale(3.0)
    other.load_state_dict(scale.state_dict())
    assert other(7.0) == scale(7.0)
