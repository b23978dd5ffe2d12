"""Convex quadratic problems on the Gramian, solved exactly by active sets. Host code, float64.

All of them reduce to `min v'Cv / 2 - q'v` over `v >= 0`. With q = 1 its solution is, up to scale, the
min-norm point of a convex hull (MGDA). With other q it is a projection on the dual cone (UPGrad). A
search over the level of q gives CAGrad's solution.
"""

from __future__ import annotations

import numpy as np

from mtrl.balancing.solvers.solution import Array, Solution, scaled_cosines

_RIDGE = 1e-13  # added to the unit diagonal, so that opposed and equal rows can be solved
_STATIONARY = 1e-7  # |d| below this share of its terms is rounding error: zero lies in the hull


def nonnegative_quadratic(system: Array, linear: Array) -> tuple[Array, bool, int]:
    """`min v'Cv / 2 - q'v` over `v >= 0` for positive definite C, by Lawson and Hanson's method.

    Source: Lawson and Hanson, Solving Least Squares Problems, 1974, chapter 23, on the normal
    equations.

    Returns:
        `(v, converged, iterations)`.
    """
    k = len(linear)
    v = np.zeros(k)
    passive = np.zeros(k, dtype=bool)
    scale = np.abs(linear).max(initial=0.0)
    tolerance = 1e-13 * scale
    for iteration in range(1, 5 * k + 10):
        slack = linear - system @ v
        # The rounding of a sum is relative to its terms, which cancel near stationary points.
        noise = 4e-16 * k * (np.abs(system) @ np.abs(v))
        gain = np.where(passive, -np.inf, slack - tolerance - noise)
        entering = int(gain.argmax())
        if not gain[entering] > 0:
            return v, True, iteration
        passive[entering] = True
        while True:
            index = np.flatnonzero(passive)
            try:
                trial = np.linalg.solve(system[np.ix_(index, index)], linear[index])
            except np.linalg.LinAlgError:
                return v, False, iteration
            if not np.isfinite(trial).all():
                return v, False, iteration
            if (trial > 0).all():
                v = np.zeros(k)
                v[index] = trial
                break
            current = v[index]
            blocked = trial <= 0
            with np.errstate(all="ignore"):
                ratio = np.where(blocked, current / (current - trial), np.inf)
            step = float(np.nan_to_num(ratio, nan=0.0).min())
            moved = current + step * (trial - current)
            leaving = blocked & (ratio <= step)
            moved[leaving] = 0.0
            v = np.zeros(k)
            v[index] = np.maximum(moved, 0.0)
            passive[index[leaving]] = False
            if not passive.any():
                return v, False, iteration
    return v, False, 5 * k + 10


def min_norm_point(gramian: Array) -> Solution:
    """The weights of the shortest vector in the convex hull of the gradients; they sum to 1.

    A zero row would be the shortest vector, but it is left out, because a task without a gradient
    should not stop the others. If zero lies in the hull of the other rows, the status is `stationary`
    and their combination is zero up to rounding.
    """
    m = len(gramian)
    used, norm, cosines = scaled_cosines(gramian)
    weights = np.zeros(m)
    if len(used) == 0:
        return Solution(weights, "empty", 0.0, 0)
    scaled, converged, iterations = _hull(cosines, norm)
    weights[used] = scaled / norm
    total = weights.sum()
    if not (np.isfinite(total) and total > 0):
        return Solution(np.zeros(m), "empty", 0.0, iterations)
    weights /= total
    scaled = scaled / total
    products = norm * (cosines @ scaled)
    square = float(scaled @ cosines @ scaled)
    size = float(scaled.sum()) ** 2  # |d|^2 if nothing cancelled
    if square <= _STATIONARY**2 * size:
        distance = float(np.sqrt(max(0.0, square) / size))  # of d from zero, the exact answer
        return Solution(weights, "stationary", distance, iterations)
    residual = max(0.0, square - float(products.min())) / square
    certified = converged and residual < 1e-3  # norms over 24 orders of magnitude can fail this
    return Solution(weights, "ok" if certified else "stalled", residual, iterations)


def _hull(cosines: Array, norm: Array) -> tuple[Array, bool, int]:
    system = cosines + _RIDGE * np.eye(len(norm))
    return nonnegative_quadratic(system, norm.min() / norm)


def dual_cone_weights(gramian: Array) -> Solution:
    """UPGrad: project each gradient on the dual cone of all gradients, and sum the projections.

    The projection of g_i is `J'w`, where w minimises `w'Mw` subject to `w >= e_i`.

    Returns:
        The sum of these w. The residual is the largest `|min(w - e_i, Cw)| / max(1, sum w)` over all i,
        with the cosines C in place of M.
    """
    m = len(gramian)
    used, norm, cosines = scaled_cosines(gramian)
    weights = np.zeros(m)
    if len(used) == 0:
        return Solution(weights, "empty", 0.0, 0)
    system = cosines + _RIDGE * np.eye(len(used))
    rows, residual, iterations, status = np.zeros((m, m)), 0.0, 0, "ok"
    for i in range(len(used)):
        # Project the unit row, then scale by the norm of the row.
        multiplier, converged, steps = nonnegative_quadratic(system, -cosines[:, i])
        extra = multiplier.copy()
        extra[i] += 1.0
        rows[used[i], used] = norm[i] * extra / norm
        # At the minimum neither the multiplier nor the slack is negative, and one of them is zero.
        violation = float(np.abs(np.minimum(multiplier, cosines @ extra)).max())
        residual = max(residual, violation / max(1.0, float(extra.sum())))
        iterations += steps
        if not converged:
            status = "stalled"
    weights = rows.sum(0)
    if not np.isfinite(weights).all():
        return Solution(np.zeros(m), "empty", 0.0, iterations)
    return Solution(weights, status, residual, iterations, rows)


def conflict_averse(gramian: Array, radius: float) -> Solution:
    """CAGrad: the d within `radius * |g_0|` of the mean gradient g_0 with the largest `min_i g_i . d`.

    For a level nu, the point nearest to g_0 with all `g_i . d >= nu` is `J'(b + v)`, where b = 1/m and
    v solves one nonnegative quadratic problem. Its distance from g_0 grows with nu and is convex in
    nu. Newton's method, started above, finds the level whose distance equals the radius; it is exact
    on each active set.

    Returns:
        The weights of d, `b + v`. The residual is the duality gap divided by `|g_0| max |g_i|`.
    """
    m = len(gramian)
    used, norm, cosines = scaled_cosines(gramian)
    weights = np.zeros(m)
    if len(used) == 0:
        return Solution(weights, "empty", 0.0, 0)
    largest = norm.max()
    norm = norm / largest
    mean = norm / m  # scaled weights of g_0; zero rows count in m
    length = float(np.sqrt(max(0.0, mean @ cosines @ mean)))
    reach = radius * length
    weights[used] = 1.0 / m
    if reach == 0.0 or length <= _STATIONARY * mean.sum():
        return Solution(weights, "ok" if radius == 0.0 else "stationary", 0.0, 0)

    system = cosines + _RIDGE * np.eye(len(used))
    base = cosines @ mean  # g_i . g_0 / |g_i|
    level = float((norm * (base + reach)).min())  # no d within reach does better
    best, status, iterations = np.zeros(len(used)), "stalled", 0
    for _ in range(60):
        v, converged, steps = nonnegative_quadratic(system, level / norm - base)
        iterations += steps
        if not converged:
            break
        best = v
        distance = float(np.sqrt(max(0.0, v @ cosines @ v)))
        if distance <= reach * (1.0 + 1e-12):
            status = "ok"
            break
        # On this active set v is affine in the level: d(distance)/d(level) = sum(v / norm) /
        # distance.
        slope = float((v / norm).sum()) / distance
        step = (distance - reach) / slope
        if not step > 1e-16 * abs(level):
            status = "floor"
            break
        level -= step
    distance = float(np.sqrt(max(0.0, best @ cosines @ best)))
    if not distance > _STATIONARY * best.sum():
        return Solution(weights, "stationary", 0.0, iterations)
    best = best * (reach / distance)  # exactly on the sphere
    improvement = norm * (cosines @ (mean + best))
    dual = best / norm
    dual = dual / dual.sum()
    bound = float(dual @ (norm * base)) + reach * float(
        np.sqrt(max(0.0, (dual * norm) @ cosines @ (dual * norm)))
    )
    residual = max(0.0, bound - float(improvement.min())) / length
    weights[used] += best / norm
    if not np.isfinite(weights).all():
        return Solution(np.zeros(m), "empty", 0.0, iterations)
    return Solution(weights, status, residual, iterations)
