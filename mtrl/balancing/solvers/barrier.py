"""Solver of the power-barrier family: Nash-MTL, FairGrad, PIVRG. Host code; it never raises."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.linalg import get_lapack_funcs

from mtrl.balancing.solvers.solution import Array, Solution, scaled_cosines

MAX_SCALED = 1e6  # cap on scaled weights: about 1 for orthogonal tasks, huge for opposed ones
# numpy's solver takes three times as long on matrices of this size.
_solve_positive: Callable[..., Any] = get_lapack_funcs("posv", dtype=np.float64)  # type: ignore


def power_barrier(
    gramian: Array,
    target: Array,
    exponent: float,
    *,
    ridge: float = 1e-14,
    tolerance: float = 1e-10,
    max_iterations: int = 60,
) -> Solution:
    """Solve `(M a)_i = c_i a_i^(-p)` for `a > 0` by a scaled, damped Newton method.

    The solution minimises the strictly convex `a'Ma / 2 - sum_i c_i phi_p(a_i)`, where `phi_1 = log`
    and `phi_p(a) = a^(1-p) / (1-p)`. The family contains Nash-MTL (c = 1, p = 1), FairGrad (c = 1,
    p = 1/alpha) and PIVRG (c = sqrt(omega), p = 1/2). If zero lies in the convex hull of the gradients
    there is no solution: the weights are bounded and the status is `capped`.

    Args:
        gramian: M, `[m, m]`.
        target: c, `[m]`, positive.
        exponent: p, positive.
        ridge: added to the diagonal of the matrix of cosines, so that it is not singular.
        tolerance: relative residual at which to stop.
        max_iterations: largest number of Newton steps.
    """
    m, p = len(gramian), exponent
    used, norm, cosines = scaled_cosines(gramian)
    weights = np.zeros(m)
    if len(used) == 0:
        return Solution(weights, "empty", 0.0, 0)

    # Work on cosines C and scaled weights b = a * norm, so that large and small norms do not lose
    # digits: C b = c~ b^(-p) with c~ = c norm^(p-1), divided by its geometric mean.
    log_target = np.log(target[used]) + (p - 1.0) * np.log(norm)
    log_scale = float(log_target.sum()) / len(used)
    c = np.exp(log_target - log_scale)
    system = cosines
    if ridge > 0.0:
        system = cosines.copy()
        system.flat[:: len(used) + 1] = 1.0 + ridge

    b = c ** (1.0 / (1.0 + p))  # its geometric mean is 1, like that of c
    with np.errstate(all="ignore"):
        b = _start(system, c, p, b)
        b, status, iterations = _newton(system, c, p, b, tolerance, max_iterations)
        largest = float(b.max())
        if largest > MAX_SCALED:
            # Scale all weights: bounding single weights would change the direction.
            b, status = b * (MAX_SCALED / largest), "capped"
        residual = float(np.abs(b**p * (cosines @ b) / c - 1.0).max())
        weights[used] = b * (math.exp(log_scale / (1.0 + p)) / norm)
    if not math.isfinite(weights.sum()):
        return Solution(np.zeros(m), "empty", 0.0, iterations)
    return Solution(weights, status, residual, iterations)


def _start(system: Array, c: Array, p: float, orthogonal: Array) -> Array:
    """The best of three guesses, each scaled to the minimum along its ray.

    The first is exact for orthogonal gradients, the second for equal gradients. The third is close if
    zero is nearly in the convex hull, where the solution lies along the smallest eigenvector.
    """
    guesses = [orthogonal]
    if p >= 0.25:
        guesses.append(c ** (1.0 / p))
    _, hull, failed = _solve_positive(system, c)
    if not failed and (p <= 1.0 or hull.min() > 0.0):  # a negative entry gives NaN below
        guesses.append(hull)
    # One product for all guesses: on matrices of this size the number of calls is the cost.
    rays = np.array(guesses)
    curvatures = (rays @ system @ rays.T).diagonal().tolist()
    masses = (rays ** (1.0 - p) @ c).tolist()
    logs = (np.log(rays) @ c).tolist() if p == 1.0 else masses
    best, lowest = orthogonal, math.inf
    for ray, curvature, mass, log, top in zip(
        guesses, curvatures, masses, logs, rays.max(1).tolist(), strict=True
    ):
        if not (0.0 < curvature < math.inf and 0.0 < mass < math.inf):
            continue
        scale = (mass / curvature) ** (1.0 / (1.0 + p))
        if p == 1.0:
            value = 0.5 * mass - log - mass * math.log(scale)
        else:  # mass scale^(1-p) = curvature scale^2 at the minimum
            value = curvature * scale**2 * (0.5 - 1.0 / (1.0 - p))
        if value < lowest and top * scale < MAX_SCALED:
            best, lowest = ray * scale, value
    return best


def _newton(
    system: Array, c: Array, p: float, b: Array, tolerance: float, max_iterations: int
) -> tuple[Array, str, int]:
    """The minimiser of `b'Cb / 2 - sum_i c_i phi_p(b_i)` from a start b.

    If a full step halves the violation it is taken; near the minimum this is so. Otherwise a line
    search on the objective decides the length.
    """
    hessian = np.empty_like(system)
    diagonal = hessian.reshape(-1)[:: len(b) + 1]
    gradient, pull, violation = _evaluate(system, c, p, b)
    for iteration in range(max_iterations):
        if violation < tolerance:
            return b, "ok", iteration
        np.multiply(system, b, out=hessian)
        hessian *= b[:, None]
        diagonal += p * pull
        _, step, failed = _solve_positive(hessian, gradient)  # in the logarithm of 1 / b
        if failed:
            return b, "stalled", iteration
        trial = b * np.exp(-step)
        found = _evaluate(system, c, p, trial)
        if not found[2] < 0.5 * violation:
            trial, status = _search(system, c, p, b, gradient, violation, -step)
            if status:
                return trial, status, iteration
            found = _evaluate(system, c, p, trial)
        b, (gradient, pull, violation) = trial, found
    return b, "floor", max_iterations


def _evaluate(system: Array, c: Array, p: float, b: Array) -> tuple[Array, Array, float]:
    """Gradient in log b, the barrier's part of it, and a bound on the largest relative violation."""
    pull = c * b ** (1.0 - p)
    gradient = b * (system @ b) - pull
    relative = gradient / pull
    return gradient, pull, math.sqrt(relative @ relative)  # half the time of the maximum


def _search(
    system: Array, c: Array, p: float, b: Array, gradient: Array, violation: float, step: Array
) -> tuple[Array, str]:
    """The point along a step in log b that lowers the objective enough, or a status if there is none."""
    # The products cancel near stationary points; below their rounding error no step improves.
    rounding = 2e-16 * len(b) ** 0.5 * b * (np.abs(system) @ b)
    if violation < 1e-4 and (np.abs(gradient) < rounding).all():
        return b, "floor"
    slope = float(gradient @ step)
    if not -math.inf < slope < 0.0:
        return b, "stalled"
    value = _objective(system, c, p, b)
    if -slope < 1e-26 * (abs(value) + 1.0):  # the step is below rounding
        return b, "floor"
    slack = 1e-13 * (abs(value) + 1.0) + 2e-16 * float(b.sum()) ** 2  # rounding of b'Cb
    size = min(1.0, 3.0 / max(float(np.abs(step).max()), 1e-300))
    while size > 1e-10:
        trial = b * np.exp(size * step)
        if _objective(system, c, p, trial) <= value + 1e-4 * size * slope + slack:
            return trial, ""
        size *= 0.5
    return b, "stalled"


def _objective(system: Array, c: Array, p: float, b: Array) -> float:
    barrier = c @ np.log(b) if p == 1.0 else c @ b ** (1.0 - p) / (1.0 - p)
    return 0.5 * float(b @ (system @ b)) - float(barrier)
