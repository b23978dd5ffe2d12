"""Solvers: certificates, agreement of host and device, and what happens at the edges."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

from mtrl.balancing.solvers import (
    conflict_averse,
    dual_cone_weights,
    equal_projections,
    min_norm_point,
    nonnegative_quadratic,
    power_barrier,
    power_barrier_on_device,
    unit_min_norm,
)

Array = NDArray[np.float64]
KINDS = ("random", "scale", "aligned", "conflict", "tiny", "duplicate")


def rows(kind: str, m: int, seed: int = 0, n: int = 200) -> Array:
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((m, n))
    if kind == "random":
        matrix *= np.exp(rng.standard_normal((m, 1)))
    elif kind == "scale":
        matrix *= 10.0 ** rng.uniform(-3, 3, (m, 1))
    elif kind == "aligned":
        matrix = rng.standard_normal(n) + 0.05 * matrix
    elif kind == "conflict":
        matrix[-1] = 0.1 * matrix[-1] - matrix[:-1].sum(0)
    elif kind == "tiny":
        matrix *= 1e-4
    elif kind == "duplicate":
        matrix[1] = matrix[0]
    return matrix


def gramian(kind: str, m: int, seed: int = 0) -> Array:
    matrix = rows(kind, m, seed)
    return matrix @ matrix.T


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("m", [2, 10, 40])
@pytest.mark.parametrize("kind", KINDS)
def test_power_barrier_is_certified_everywhere(kind: str, m: int, exponent: float) -> None:
    target = np.linspace(0.7, 1.4, m)
    for seed in range(3):
        matrix = gramian(kind, m, seed)
        solution = power_barrier(matrix, target, exponent)
        assert solution.status in ("ok", "floor")
        assert solution.residual < 1e-8
        assert solution.iterations <= 12
        violation = (matrix @ solution.weights) * solution.weights**exponent / target - 1.0
        assert np.abs(violation).max() == pytest.approx(solution.residual, abs=1e-8)


@pytest.mark.parametrize("exponent", [0.5, 1.0])
@pytest.mark.parametrize("m", [2, 10, 40])
@pytest.mark.parametrize("kind", KINDS)
def test_device_version_agrees_with_the_host(kind: str, m: int, exponent: float) -> None:
    matrix, target = gramian(kind, m, seed=5), np.linspace(0.7, 1.4, m)
    matrix[0], matrix[:, 0] = (0.0, 0.0) if kind == "tiny" else (matrix[0], matrix[:, 0])
    host = power_barrier(matrix, target, exponent)
    weights, residual = power_barrier_on_device(
        torch.from_numpy(matrix), torch.from_numpy(target), exponent
    )
    np.testing.assert_allclose(weights.numpy(), host.weights, rtol=1e-6)
    assert float(residual) < 1e-7


@pytest.mark.parametrize("exponent", [0.5, 1.0])
@pytest.mark.parametrize("m", [3, 10])
def test_device_version_is_certified_for_nearly_opposed_gradients(m: int, exponent: float) -> None:
    """Where a fixed number of steps is hardest: all rows but a thousandth of one sum to zero."""
    for seed in range(5):
        rng = np.random.default_rng(seed)
        matrix = rng.standard_normal((m, 2000))
        matrix[-1] = 1e-3 * matrix[-1] - matrix[:-1].sum(0)
        matrix *= 10.0 ** rng.uniform(-2, 2, (m, 1))
        _, residual = power_barrier_on_device(
            torch.from_numpy(matrix @ matrix.T), torch.linspace(0.7, 1.4, m).double(), exponent
        )
        assert float(residual) < 1e-4


@pytest.mark.parametrize("gap", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("exponent", [0.5, 1.0])
def test_nearly_opposed_pair_is_closed_form(gap: float, exponent: float) -> None:
    matrix = np.array([[1.0, gap - 1.0], [gap - 1.0, 1.0]])
    solution = power_barrier(matrix, np.ones(2), exponent)
    np.testing.assert_allclose(solution.weights, gap ** (-1 / (1 + exponent)), rtol=1e-6)


@pytest.mark.parametrize("device", [False, True])
def test_stationary_weights_are_bounded_and_equal_by_symmetry(device: bool) -> None:
    matrix = np.array([[1.0, -1.0], [-1.0, 1.0]])
    if device:
        weights, _ = power_barrier_on_device(torch.from_numpy(matrix), torch.ones(2), 0.5)
        solution = weights.numpy()
    else:
        host = power_barrier(matrix, np.ones(2), 0.5)
        assert host.status == "capped"
        assert host.failed
        solution = host.weights
    assert solution[0] == pytest.approx(solution[1], rel=1e-6)
    assert 1.0 < solution.max() <= 1e6


SOLVERS = {
    "power_barrier": lambda matrix: power_barrier(matrix, np.ones(len(matrix)), 0.5),
    "min_norm_point": min_norm_point,
    "unit_min_norm": unit_min_norm,
    "dual_cone_weights": dual_cone_weights,
    "conflict_averse": lambda matrix: conflict_averse(matrix, 0.5),
    "equal_projections": lambda matrix: equal_projections(matrix, 10.0),
}


@pytest.mark.parametrize("name", list(SOLVERS))
@pytest.mark.parametrize(
    "matrix",
    [
        np.zeros((3, 3)),
        np.full((3, 3), np.nan),
        np.full((3, 3), np.inf),
        np.diag([1.0, np.nan, 2.0]),
        np.diag([1.0, np.inf, 2.0]),
        np.diag([1e-300, 1e-300, 1e-300]),
        np.diag([1e300, 1e300, 1e300]),
        np.diag([1e-200, 1.0, 1e200]),
        np.diag([-1.0, 1.0, 1.0]),
        np.ones((3, 3)),
        np.array([[1.0, 2.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 1.0]]),  # no Gramian at all
        -np.ones((3, 3)) + 3.0 * np.eye(3),  # rows that sum to zero
    ],
    ids=str,
)
def test_no_matrix_raises_or_gives_nan(name: str, matrix: Array) -> None:
    solution = SOLVERS[name](matrix)
    assert np.isfinite(solution.weights).all()
    assert np.isfinite(solution.residual)
    assert solution.status in ("ok", "floor", "capped", "stationary", "stalled", "empty")


@pytest.mark.parametrize("m", [2, 10, 40])
@pytest.mark.parametrize("kind", KINDS)
def test_min_norm_point_satisfies_its_conditions(kind: str, m: int) -> None:
    matrix = gramian(kind, m)
    solution = min_norm_point(matrix)
    assert solution.status == "ok"
    assert solution.residual < 1e-6
    assert solution.weights.sum() == pytest.approx(1.0)
    assert (solution.weights >= 0).all()
    products, square = matrix @ solution.weights, solution.weights @ matrix @ solution.weights
    assert products.min() >= square * (1 - 1e-6)


@pytest.mark.parametrize("m", [2, 10, 40])
@pytest.mark.parametrize("kind", KINDS)
def test_conflict_averse_closes_its_duality_gap(kind: str, m: int) -> None:
    matrix = gramian(kind, m)
    for radius in (0.1, 0.5, 0.9):
        solution = conflict_averse(matrix, radius)
        assert solution.status in ("ok", "floor")
        assert solution.residual < 1e-9
        away = solution.weights - 1.0 / m
        reach = radius * np.sqrt(matrix.sum()) / m
        assert np.sqrt(away @ matrix @ away) == pytest.approx(reach, rel=1e-6)


def test_conflict_averse_is_not_worse_than_sequential_quadratic_programming() -> None:
    """The released objective, minimised by scipy on matrices that suit it."""
    for seed in range(5):
        matrix, radius = gramian("random", 4, seed), 0.5
        matrix /= np.trace(matrix) / 4
        mean = np.full(4, 0.25)
        reach = radius * np.sqrt(mean @ matrix @ mean)
        result = minimize(
            lambda w, matrix=matrix, mean=mean, reach=reach: (
                w @ matrix @ mean + reach * np.sqrt(w @ matrix @ w + 1e-16)
            ),
            mean,
            method="SLSQP",
            bounds=[(0, 1)] * 4,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1.0},
            options={"ftol": 1e-14, "maxiter": 500},
        )
        worst = (matrix @ conflict_averse(matrix, radius).weights).min()
        assert worst == pytest.approx(result.fun, rel=1e-5)


@pytest.mark.parametrize("m", [2, 10, 40])
@pytest.mark.parametrize("kind", KINDS)
def test_dual_cone_projection_conflicts_with_no_task(kind: str, m: int) -> None:
    matrix = gramian(kind, m)
    solution = dual_cone_weights(matrix)
    assert solution.status == "ok"
    assert solution.residual < 1e-9
    norm = np.sqrt(np.diagonal(matrix))
    length = np.sqrt(solution.weights @ matrix @ solution.weights)
    assert ((matrix @ solution.weights) / norm / length > -1e-8).all()


def test_nonnegative_quadratic_satisfies_its_conditions() -> None:
    rng = np.random.default_rng(0)
    for m in (1, 3, 12, 30):
        matrix = rng.standard_normal((m, m + 2))
        system, linear = matrix @ matrix.T, rng.standard_normal(m)
        v, converged, _ = nonnegative_quadratic(system, linear)
        assert converged
        slope = system @ v - linear
        assert (v >= 0).all()
        assert (slope > -1e-9).all()
        assert np.abs(slope * v).max() < 1e-9


def test_equal_projections_fall_back_where_rows_depend() -> None:
    matrix = np.array([[1.0, 2.0], [1.0, 0.5], [-3.0, 1.0]])  # three rows in a plane
    dependent = matrix @ matrix.T
    solution = equal_projections(dependent, 10.0)
    assert solution.status == "stationary"
    np.testing.assert_allclose(solution.weights, unit_min_norm(dependent).weights)


def test_unit_min_norm_reads_angles_alone() -> None:
    matrix = rows("random", 5)
    length = np.array([1.0, 100.0, 0.01, 5.0, 1.0])[:, None]
    plain = unit_min_norm(matrix @ matrix.T).weights @ matrix
    scaled = unit_min_norm((length * matrix) @ (length * matrix).T).weights @ (length * matrix)
    cosine = plain @ scaled / np.linalg.norm(plain) / np.linalg.norm(scaled)
    assert cosine == pytest.approx(1.0, abs=1e-12)
