"""The power-barrier family: Nash-MTL, FairGrad, PIVRG. Host code, float64, no exceptions."""

from __future__ import annotations

import numpy as np

from mtrl.balancing.solvers.solution import Array, Solution, scaled_cosines

MAX_SCALED = 1e6  # cap on scaled weights, relative to their median: near-opposed tasks


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
    log_scale = log_target.mean()
    c = np.exp(log_target - log_scale)
    system = cosines.copy()
    np.fill_diagonal(system, 1.0 + ridge)

    b = c ** (1.0 / (1.0 + p))
    typical = np.median(b)
    quadratic = float(b @ system @ b)
    if quadratic > 0:
        b = b * (float((c * b ** (1.0 - p)).sum()) / quadratic) ** (1.0 / (1.0 + p))
    b, status, iterations = _newton(system, c, p, b, tolerance, max_iterations)

    cap = MAX_SCALED * typical
    if b.max() > cap:
        # The direction of d is kept: bounding single weights would turn it at random.
        b, status = b * (cap / b.max()), "capped"
    with np.errstate(all="ignore"):
        residual = float(np.abs(b * (cosines @ b) / (c * b ** (1.0 - p)) - 1.0).max())
    weights[used] = b / norm * np.exp(log_scale / (1.0 + p))
    if not np.isfinite(weights).all():
        return Solution(np.zeros(m), "empty", 0.0, iterations)
    return Solution(weights, status, residual, iterations)


def _newton(
    system: Array, c: Array, p: float, b: Array, tolerance: float, max_iterations: int
) -> tuple[Array, str, int]:
    def objective(point: Array, product: Array) -> float:
        barrier = np.log(point) if p == 1.0 else point ** (1.0 - p) / (1.0 - p)
        return float(0.5 * point @ product - c @ barrier)

    size_of_system, rounding = np.abs(system), 2e-16 * np.sqrt(len(b))
    product = system @ b
    value = objective(b, product)
    for iteration in range(max_iterations):
        pull = c * b ** (1.0 - p)  # the barrier's share of b_i dF/db_i
        gradient = b * product - pull
        if np.abs(gradient / pull).max() < tolerance:
            return b, "ok", iteration
        if (np.abs(gradient) < rounding * b * (size_of_system @ b)).all():
            return b, "floor", iteration  # the products cancel to rounding
        hessian = system * b[:, None] * b[None, :]
        np.fill_diagonal(hessian, hessian.diagonal() + p * pull)
        try:
            step = np.linalg.solve(hessian, -gradient)  # in relative coordinates: db = b * step
        except np.linalg.LinAlgError:
            return b, "stalled", iteration
        slope = float(gradient @ step)
        if not np.isfinite(slope) or slope >= 0:
            return b, "stalled", iteration

        size = min(1.0, 0.9 / max(float(-step.min()), 1e-300))
        slack = 1e-13 * (abs(value) + 1.0)
        while size > 1e-10:
            trial = b * (1.0 + size * step)
            trial_product = system @ trial
            trial_value = objective(trial, trial_product)
            if trial_value <= value + 1e-4 * size * slope + slack:
                break
            size *= 0.5
        else:
            return b, "stalled", iteration
        b, product, value = trial, trial_product, trial_value
        if -slope < 1e-26 * (abs(value) + 1.0):  # the step was below rounding
            return b, "floor", iteration + 1
    return b, "floor", max_iterations
