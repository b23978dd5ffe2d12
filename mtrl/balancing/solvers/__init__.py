"""Solvers of the small convex problems on the Gramian `[m, m]`.

Host solvers work in float64 and never raise. Each returns its solution with a status and a residual
that certifies it, and the caller logs both. The device solver has fixed shapes and a fixed number of
iterations, so that a CUDA graph can capture it. It agrees with its host version.
"""

from mtrl.balancing.solvers.angular import equal_projections, unit_min_norm
from mtrl.balancing.solvers.barrier import power_barrier
from mtrl.balancing.solvers.barrier_device import power_barrier_on_device
from mtrl.balancing.solvers.quadratic import (
    conflict_averse,
    dual_cone_weights,
    min_norm_point,
    nonnegative_quadratic,
)
from mtrl.balancing.solvers.solution import Solution

__all__ = [
    "Solution",
    "conflict_averse",
    "dual_cone_weights",
    "equal_projections",
    "min_norm_point",
    "nonnegative_quadratic",
    "power_barrier",
    "power_barrier_on_device",
    "unit_min_norm",
]
