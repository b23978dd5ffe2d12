"""Directions that depend on angles only: equal projections (IMTL-G), min-norm point of units (EDM)."""

from __future__ import annotations

import numpy as np

from mtrl.balancing.solvers.quadratic import min_norm_point
from mtrl.balancing.solvers.solution import Array, Solution, scaled_cosines


def unit_min_norm(gramian: Array) -> Solution:
    """EDM: task weights of the min-norm point of the unit gradients, scaled to sum to 1."""
    used, norm, cosines = scaled_cosines(gramian)
    weights = np.zeros(len(gramian))
    if len(used) == 0:
        return Solution(weights, "empty", 0.0, 0)
    inner = min_norm_point(cosines)
    relative = norm.min() / norm
    weights[used] = inner.weights * relative / float(inner.weights @ relative)
    return Solution(weights, inner.status, inner.residual, inner.iterations)


def equal_projections(gramian: Array, negative_limit: float) -> Solution:
    """IMTL-G: weights that sum to 1 whose direction has equal projections on all unit gradients.

    Solves `C v = 1` for the matrix of cosines C; the weights are `a_i = v_i / |g_i|`. The answer is
    that of :func:`unit_min_norm`, with status `stationary`, if no such direction exists (dependent
    rows), if the weights cannot be normalised, or if a scaled weight is below `-negative_limit` times
    the mean.
    """
    used, norm, cosines = scaled_cosines(gramian)
    weights = np.zeros(len(gramian))
    if len(used) == 0:
        return Solution(weights, "empty", 0.0, 0)
    scaled = np.linalg.pinv(cosines, rcond=1e-12, hermitian=True).sum(1)
    relative = norm.min() / norm
    total = float(scaled @ relative)
    residual = float(np.abs(cosines @ scaled - 1.0).max())
    acceptable = (
        np.isfinite(scaled).all()
        and residual < 1e-6
        and total > 1e-10 * float(np.abs(scaled) @ relative)
        and float(scaled.min()) >= -negative_limit * float(scaled.mean())
    )
    if not acceptable:
        fallback = unit_min_norm(gramian)
        return Solution(fallback.weights, "stationary", fallback.residual, fallback.iterations)
    weights[used] = scaled * relative / total
    return Solution(weights, "ok", residual, 0)
