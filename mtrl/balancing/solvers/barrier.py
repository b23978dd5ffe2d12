"""The power-barrier family: Nash-MTL, FairGrad, PIVRG. Host code, float64, no exceptions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.linalg import get_lapack_funcs

from mtrl.balancing.solvers.solution import Array, Solution, scaled_cosines

MAX_SCALED = 1e6  # cap on scaled weights, relative to their median: near-opposed tasks
# numpy's solve costs three times more on matrices of this size.
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

    The equations are the stationarity of the strictly convex `a'Ma / 2 - sum_i c_i phi_p(a_i)` with
    `phi_1 = log` and `phi_p(a) = a^(1-p) / (1-p)`. The family holds Nash-MTL (c = 1, p = 1),
    FairGrad (c = 1, p = 1/alpha) and PIVRG (c = sqrt(omega), p = 1/2). A solution exists unless
    zero lies in the convex hull of the gradients; then the weights are bounded and the status says
    `capped`.

    Args:
        gramian: M, `[m, m]`.
        target: c, `[m]`, positive.
        exponent: p, positive.
        ridge: added to the diagonal of the matrix of cosines, which it bounds away from singular.
        tolerance: relative residual at which to stop.
        max_iterations: bound on Newton steps.
    """
    m, p = len(gramian), exponent
    used, norm, cosines = scaled_cosines(gramian)
    weights = np.zeros(m)
    if len(used) == 0:
        return Solution(weights, "empty", 0.0, 0)

    # Work on cosines C and scaled weights b = a * norm, so that scales cannot spoil the arithmetic:
    # C b = c~ b^(-p) with c~ = c norm^(p-1), divided by its geometric mean.
    log_target = np.log(target[used]) + (p - 1.0) * np.log(norm)
    log_scale = log_target.sum() / len(used)
    c = np.exp(log_target - log_scale)
    system = cosines
    if ridge > 0.0:
        system = cosines.copy()
        system.flat[:: len(used) + 1] = 1.0 + ridge

    b = c ** (1.0 / (1.0 + p))
    ordered = np.sort(b)  # numpy's median costs more than the rest of this function
    typical = 0.5 * float(ordered[(len(b) - 1) // 2] + ordered[len(b) // 2])
    with np.errstate(all="ignore"):
        cap = MAX_SCALED * typical
        b = _start(system, c, p, b, cap)
        b, status, iterations = _newton(system, c, p, b, tolerance, max_iterations)
        if b.max() > cap:
            # The direction of d is kept: bounding single weights would turn it at random.
            b, status = b * (cap / b.max()), "capped"
        residual = float(np.abs(b * (cosines @ b) / (c * b ** (1.0 - p)) - 1.0).max())
        weights[used] = b / norm * np.exp(log_scale / (1.0 + p))
    if not np.isfinite(weights).all():
        return Solution(np.zeros(m), "empty", 0.0, iterations)
    return Solution(weights, status, residual, iterations)


def _start(system: Array, c: Array, p: float, orthogonal: Array, cap: float) -> Array:
    """The best of three guesses, each scaled to the minimum along its ray.

    They are exact for orthogonal gradients, for equal ones, and close where zero is nearly in the
    convex hull and the solution lies along the smallest eigenvector.
    """
    guesses = [orthogonal]
    if p >= 0.25:
        guesses.append(c ** (1.0 / p))
    _, hull, failed = _solve_positive(system, c)
    if not failed and hull.min() > 0.0:
        guesses.append(hull)
    best, lowest = orthogonal, np.inf
    for guess in guesses:
        scale = (float(c @ guess ** (1.0 - p)) / float(guess @ system @ guess)) ** (1.0 / (1.0 + p))
        b = guess * scale
        value = _objective(b, system @ b, c * b ** (1.0 - p), c, p)
        if value < lowest and b.max() < cap:
            best, lowest = b, value
    return best


def _newton(
    system: Array, c: Array, p: float, b: Array, tolerance: float, max_iterations: int
) -> tuple[Array, str, int]:
    """The minimiser of `b'Cb / 2 - sum_i c_i phi_p(b_i)` from a start b."""
    stride, rounding = len(b) + 1, 2e-16 * len(b) ** 0.5
    product = system @ b
    pull = c * b ** (1.0 - p)  # the barrier's share of b_i dF/db_i
    value = _objective(b, product, pull, c, p)
    for iteration in range(max_iterations):
        gradient = b * product - pull
        violation = float(np.abs(gradient / pull).max())
        if violation < tolerance:
            return b, "ok", iteration
        # The products cancel near stationary points; below their rounding nothing improves.
        if violation < 1e-4 and (np.abs(gradient) < rounding * b * (np.abs(system) @ b)).all():
            return b, "floor", iteration
        hessian = system * b * b[:, None]
        hessian.flat[::stride] += p * pull
        _, step, failed = _solve_positive(hessian, -gradient)  # in the logarithm of b
        slope = float(gradient @ step)
        if failed or not np.isfinite(slope) or slope >= 0:
            return b, "stalled", iteration

        size = min(1.0, 3.0 / max(float(np.abs(step).max()), 1e-300))
        slack = 1e-13 * (abs(value) + 1.0) + 2e-16 * float(b.sum()) ** 2  # rounding of b'Cb
        while size > 1e-10:
            trial = b * np.exp(size * step)
            trial_product = system @ trial
            trial_pull = c * trial ** (1.0 - p)
            trial_value = _objective(trial, trial_product, trial_pull, c, p)
            if trial_value <= value + 1e-4 * size * slope + slack:
                break
            size *= 0.5
        else:
            return b, "stalled", iteration
        b, product, pull, value = trial, trial_product, trial_pull, trial_value
        if -slope < 1e-26 * (abs(value) + 1.0):  # the step was below rounding
            return b, "floor", iteration + 1
    return b, "floor", max_iterations


def _objective(b: Array, product: Array, pull: Array, c: Array, p: float) -> float:
    barrier = float(c @ np.log(b)) if p == 1.0 else float(pull.sum()) / (1.0 - p)
    return 0.5 * float(b @ product) - barrier
