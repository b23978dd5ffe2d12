"""Success rates from few episodes: made by hand, and what chance leaves of them in omega."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mtrl.balancing import Performance
from mtrl.balancing.omega import performance_weights
from mtrl.rl.success_rate import standard_errors, success_rates


def ratios(successes: np.ndarray, episodes: int, smoothing: str) -> np.ndarray:
    rates = success_rates(successes, np.full(successes.shape, episodes), smoothing)  # type: ignore[arg-type]
    omegas = [performance_weights(Performance(torch.from_numpy(row))) for row in rates]
    return np.array([float(w.max() / w.min()) for w in omegas])


def test_two_tasks_by_hand() -> None:
    # mu = 12.5/21; Q = 10 ((1 - mu)^2 + (0.2 - mu)^2) / (mu (1 - mu)); n = 10; c = 3.841459 (one
    # degree of freedom, 5 %); rho = (Q / c - 1) / 9; nu = 1 / rho - 1.
    mu = 12.5 / 21
    q = 10 * ((1 - mu) ** 2 + (0.2 - mu) ** 2) / (mu * (1 - mu))
    nu = 9 / (q / 3.841458820694124 - 1) - 1
    assert 1 < nu < 4
    expected = [(10 + nu * mu) / (10 + nu), (2 + nu * mu) / (10 + nu)]
    assert success_rates([10, 2], [10, 10]) == pytest.approx(expected, rel=1e-12)


def test_unequal_counts_by_hand() -> None:
    # The size that stands for n is (sum n - sum n^2 / sum n) / (m - 1) = 40 - 1000 / 40 = 15.
    k, n, mu = np.array([28, 4]), np.array([30, 10]), 32.5 / 41
    q = float((n * (k / n - mu) ** 2).sum() / (mu * (1 - mu)))
    nu = 1 / ((q / 3.841458820694124 - 1) / 14) - 1
    assert nu > 1
    assert success_rates(k, n) == pytest.approx((k + nu * mu) / (n + nu), rel=1e-12)


def test_a_difference_within_chance_is_none() -> None:
    rates = success_rates([18, 20, 19, 17], [20] * 4)
    assert rates == pytest.approx([74.5 / 81] * 4, rel=1e-12)


def test_the_prior_counts_for_an_episode_at_least() -> None:
    rates = success_rates([0, 50, 0, 50], [50] * 4)
    assert rates == pytest.approx([0.5 / 51, 50.5 / 51] * 2, rel=1e-12)


def test_one_episode_tells_no_difference_and_one_task_has_its_own_rate() -> None:
    assert success_rates([1, 0, 1, 1], [1] * 4) == pytest.approx([3.5 / 5] * 4)
    assert success_rates([7], [10]) == pytest.approx([(7 + 0.75 * 1e-9) / 10], abs=0.03)


def test_none_is_the_plain_rate() -> None:
    assert success_rates([1, 0, 3], [1, 5, 4], "none").tolist() == [1.0, 0.0, 0.75]


def test_standard_errors_are_those_of_a_binomial() -> None:
    assert standard_errors([0.5, 0.9], [100, 9]) == pytest.approx([0.05, 0.1])


@pytest.mark.parametrize("rate", [0.5, 0.9, 0.98])
def test_chance_alone_does_not_move_omega(rate: float) -> None:
    """Ten tasks of one true rate: the plain rate of 20 episodes puts omega at its bound."""
    rng = np.random.default_rng(0)
    before = ratios(rng.binomial(20, rate, (200, 10)), 20, "none")
    after = ratios(rng.binomial(100, rate, (200, 10)), 100, "shared_prior")
    assert np.median(before) > 1.6
    assert np.quantile(after, 0.9) == pytest.approx(1.0)
    assert after.mean() < 1.05


@pytest.mark.parametrize(("rate", "least"), [(0.7, 1.4), (0.5, 1.6), (0.0, 1.7)])
def test_a_lagging_task_is_seen(rate: float, least: float) -> None:
    rng = np.random.default_rng(0)
    true = np.full(10, 0.9)
    true[3] = rate
    rates = success_rates(rng.binomial(100, true, (200, 10)), np.full((200, 10), 100))
    omegas = torch.stack([performance_weights(Performance(torch.from_numpy(r))) for r in rates])
    assert (omegas.argmax(1) == 3).double().mean() > 0.95
    assert omegas[:, 3].mean() > least
