"""Residuals tell a wrong answer: each solver is made to err, and its residual must say by how much.

The violation is worked out here from the Gramian and the weights alone. A solver errs because its
iterations are cut short, or because the problem inside it is answered wrongly.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import pytest
import scipy.optimize
import torch
from numpy.typing import NDArray

from mtrl.balancing import Signals, build
from mtrl.balancing.methods._host_solve import solve_on_host
from mtrl.balancing.solvers import (
    Solution,
    conflict_averse,
    dual_cone_weights,
    equal_projections,
    min_norm_point,
    nonnegative_quadratic,
    power_barrier,
    power_barrier_on_device,
    quadratic,
    unit_min_norm,
)

Array = NDArray[np.float64]
Quadratic = Callable[[Array, Array], tuple[Array, bool, int]]
M = 6
TARGET = np.linspace(0.7, 1.4, M)


def gramian(seed: int = 0, m: int = M) -> Array:
    """Of random rows whose norms differ and of which some conflict."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((m, 8)) * np.exp(rng.standard_normal((m, 1)))
    return rows @ rows.T


def cosines(matrix: Array) -> Array:
    norm = np.sqrt(matrix.diagonal())
    return matrix / norm / norm[:, None]


@pytest.fixture
def wrong_quadratic(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], list[Array]]:
    """Multiply the entries of each answer to the inner problem by 1 +- an error, alternately.

    The list that it returns collects the wrong answers.
    """

    def install(error: float) -> list[Array]:
        answers: list[Array] = []

        def wrong(system: Array, linear: Array) -> tuple[Array, bool, int]:
            v, converged, steps = nonnegative_quadratic(system, linear)
            v = v * (1.0 + error * (-1.0) ** np.arange(len(v)))
            answers.append(v)
            return v, converged, steps

        monkeypatch.setattr(quadratic, "nonnegative_quadratic", wrong)
        return answers

    return install


# -- power barrier -------------------------------------------------------------------------------


def barrier_violation(matrix: Array, weights: Array, exponent: float) -> float:
    """Largest `|(M a)_i a_i^p / c_i - 1|`."""
    return float(np.abs((matrix @ weights) * weights**exponent / TARGET - 1.0).max())


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("iterations", [0, 1, 2])
def test_power_barrier_cut_short_says_how_wrong_it_is(iterations: int, exponent: float) -> None:
    matrix = gramian()
    solution = power_barrier(matrix, TARGET, exponent, max_iterations=iterations)
    violation = barrier_violation(matrix, solution.weights, exponent)
    assert violation > 1e-4
    assert solution.residual == pytest.approx(violation, rel=1e-6)


@pytest.mark.parametrize("ridge", [1e-3, 0.1])
def test_power_barrier_certifies_the_problem_without_its_ridge(ridge: float) -> None:
    matrix = gramian()
    solution = power_barrier(matrix, TARGET, 0.5, ridge=ridge)
    violation = barrier_violation(matrix, solution.weights, 0.5)
    assert violation > 1e-4
    assert solution.residual == pytest.approx(violation, rel=1e-6)


def test_capped_weights_are_certified_as_they_are_returned() -> None:
    gap = 1e-13  # the solution's scaled weights are 2e8, beyond the cap
    matrix = np.array([[1.0, gap - 1.0], [gap - 1.0, 1.0]])
    solution = power_barrier(matrix, np.ones(2), 0.5)
    assert solution.status == "capped"
    violation = np.abs((matrix @ solution.weights) * solution.weights**0.5 - 1.0).max()
    assert solution.residual == pytest.approx(violation, rel=1e-2)
    assert solution.residual > 0.5


@pytest.mark.parametrize("exponent", [0.5, 1.0])
@pytest.mark.parametrize("iterations", [0, 1, 2])
def test_device_version_cut_short_says_how_wrong_it_is(iterations: int, exponent: float) -> None:
    matrix = gramian()
    weights, residual = power_barrier_on_device(
        torch.from_numpy(matrix), torch.from_numpy(TARGET), exponent, iterations=iterations
    )
    violation = barrier_violation(matrix, weights.numpy(), exponent)
    assert violation > 1e-4
    assert float(residual) == pytest.approx(violation, rel=1e-6)


# -- quadratic problems --------------------------------------------------------------------------


@pytest.mark.parametrize("error", [1e-5, 1e-2, 0.3])
def test_min_norm_point_says_how_wrong_it_is(
    error: float, wrong_quadratic: Callable[[float], list[Array]]
) -> None:
    matrix = gramian()
    best = min_norm_point(matrix)
    assert best.residual < 1e-10
    wrong_quadratic(error)
    solution = min_norm_point(matrix)
    products = matrix @ solution.weights
    square = float(solution.weights @ products)
    gap = (square - float(products.min())) / square
    assert gap > 0.1 * error
    assert solution.residual == pytest.approx(gap, rel=1e-6)
    # The gap bounds what matters: how much longer the vector is than the shortest.
    assert square - float(best.weights @ matrix @ best.weights) <= gap * square
    assert solution.status == ("ok" if gap < 1e-3 else "stalled")


@pytest.mark.parametrize("error", [1e-5, 1e-2])
def test_unit_min_norm_says_how_wrong_it_is(
    error: float, wrong_quadratic: Callable[[float], list[Array]]
) -> None:
    matrix = gramian()
    wrong_quadratic(error)
    solution = unit_min_norm(matrix)
    units = solution.weights * np.sqrt(matrix.diagonal())
    units = units / units.sum()
    products = cosines(matrix) @ units
    gap = 1.0 - float(products.min()) / float(units @ products)
    assert gap > 0.1 * error
    assert solution.residual == pytest.approx(gap, rel=1e-6)


def test_stationary_residual_is_the_distance_from_zero() -> None:
    rows = np.array([[1.0, 0.0], [-1.0, 3e-8]])
    solution = min_norm_point(rows @ rows.T)
    assert solution.status == "stationary"
    distance = np.linalg.norm(solution.weights @ rows)
    assert 1e-9 < distance < 1e-7
    assert solution.residual == pytest.approx(float(distance), rel=0.2)


@pytest.mark.parametrize("error", [1e-5, 1e-2, 0.3])
def test_dual_cone_says_how_wrong_it_is(
    error: float, wrong_quadratic: Callable[[float], list[Array]]
) -> None:
    matrix = gramian()
    assert dual_cone_weights(matrix).residual < 1e-10
    answers = wrong_quadratic(error)
    solution = dual_cone_weights(matrix)
    assert len(answers) == M
    violations = []
    for i, multiplier in enumerate(answers):
        w = multiplier + np.eye(M)[i]
        slack = cosines(matrix) @ w
        outside = max(0.0, -float(slack.min()))
        too_far = float(np.minimum(multiplier, slack).max())  # pushed without need
        violations.append(max(outside, too_far) / max(1.0, float(w.sum())))
    assert max(violations) > 0.1 * error
    assert solution.residual == pytest.approx(max(violations), rel=1e-6)


def test_dual_cone_is_not_certified_where_it_only_conflicts_with_no_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Twice the way into the cone lies in it as well, but is not the projection."""
    rows = np.array([[1.0, 0.0], [-0.6, 0.8]])

    def twice(system: Array, linear: Array) -> tuple[Array, bool, int]:
        v, converged, steps = nonnegative_quadratic(system, linear)
        return 2.0 * v, converged, steps

    monkeypatch.setattr(quadratic, "nonnegative_quadratic", twice)
    solution = dual_cone_weights(rows @ rows.T)
    assert (rows @ (solution.weights @ rows) > 0.1).all()
    assert solution.residual > 0.1


@pytest.mark.parametrize("radius", [0.6, 0.9])  # several rows are active at each
@pytest.mark.parametrize("error", [1e-3, 0.1, 0.5])
def test_conflict_averse_says_how_wrong_it_is(
    error: float, radius: float, wrong_quadratic: Callable[[float], list[Array]]
) -> None:
    matrix = cosines(gramian())
    mean = np.full(M, 1.0 / M)
    length = float(np.sqrt(mean @ matrix @ mean))
    scale = length * float(np.sqrt(matrix.diagonal().max()))
    best = conflict_averse(matrix, radius)
    assert best.residual < 1e-10
    wrong_quadratic(error)
    solution = conflict_averse(matrix, radius)
    away = solution.weights - mean
    assert float(np.sqrt(away @ matrix @ away)) == pytest.approx(radius * length)  # feasible
    worst = float((matrix @ solution.weights).min())
    dual = away / away.sum()
    bound = float(dual @ matrix @ mean) + radius * length * float(np.sqrt(dual @ matrix @ dual))
    assert bound - worst > 0.0
    assert solution.residual == pytest.approx((bound - worst) / scale, rel=1e-4)
    lost = (float((matrix @ best.weights).min()) - worst) / scale
    assert 0.0 < lost <= solution.residual


# -- equal projections ---------------------------------------------------------------------------


@pytest.mark.parametrize("error", [1e-9, 1e-7, 1e-2])
def test_equal_projections_say_how_wrong_they_are(
    error: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((M, 100))
    matrix = rows @ rows.T
    inverse, shift = np.linalg.pinv, np.eye(M) * error * (-1.0) ** np.arange(M)
    monkeypatch.setattr(np.linalg, "pinv", lambda c, **options: inverse(c, **options) + shift)
    solution = equal_projections(matrix, 10.0)
    if error > 1e-6:  # worse than is acceptable
        assert solution.status == "stationary"
        np.testing.assert_allclose(solution.weights, unit_min_norm(matrix).weights)
        return
    assert solution.status == "ok"
    # Projections on the units, in units of what they are without the error.
    projections = (matrix @ solution.weights) / np.sqrt(matrix.diagonal())
    spread = float(projections.max() / projections.min()) - 1.0
    assert spread > 0.5 * error
    assert 0.5 * spread <= solution.residual <= spread


# -- what a method reports -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "residual", "failed"),
    [
        ("ok", 1e-9, 0.0),
        ("floor", 9e-4, 0.0),
        ("ok", 2e-3, 1.0),
        ("floor", 1.0, 1.0),
        ("ok", np.nan, 1.0),
        ("stalled", 1e-9, 1.0),
        ("capped", 1e-9, 1.0),
    ],
)
def test_an_uncertified_residual_is_a_failure(status: str, residual: float, failed: float) -> None:
    method = build("mgda", 2, 3)
    answer = Solution(np.ones(2), status, residual, 1)
    solve_on_host(method, torch.eye(2), lambda _: answer)
    assert method.metrics["solver_failures"] == failed
    np.testing.assert_equal(method.metrics["solver_residual"], residual)


@pytest.mark.parametrize(("iterations", "failed"), [(1, 1.0), (15, 0.0)])
def test_an_uncertified_residual_on_the_device_is_a_failure(
    iterations: int, failed: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "mtrl.balancing.methods._power_barrier.power_barrier_on_device",
        functools.partial(power_barrier_on_device, iterations=iterations),
    )
    method = build("nash_mtl", M, 8, solver="device")
    jacobian = torch.from_numpy(np.linalg.cholesky(gramian() + 1e-3 * np.eye(M)))
    method.aggregate(Signals(jacobian=jacobian, losses=torch.ones(M)))
    assert float(method.metrics["solver_failures"]) == failed


def test_least_squares_is_certified_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own word `success` does not count: a wrong answer is a failure."""
    solve = scipy.optimize.least_squares

    def wrong(*args: object, **options: object) -> object:
        result = solve(*args, **options)  # type: ignore[arg-type]
        result.x = 1.1 * result.x
        return result

    monkeypatch.setattr(scipy.optimize, "least_squares", wrong)
    method = build("nash_mtl", M, 8, solver="scipy")
    jacobian = torch.from_numpy(np.linalg.cholesky(gramian() + 1e-3 * np.eye(M)))
    method.aggregate(Signals(jacobian=jacobian, losses=torch.ones(M)))
    assert method.metrics["solver_residual"] == pytest.approx(1.1**2 - 1.0, rel=1e-3)
    assert method.metrics["solver_failures"] == 1.0
