"""Where methods meet solvers: one copy down, one copy up, and what the log should know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtrl.balancing.adjusted import AdjustedRows
from mtrl.balancing.base import Aggregator
from mtrl.balancing.signals import Signals
from mtrl.balancing.solvers import Solution, power_barrier, power_barrier_on_device

_UNCERTIFIED = 1e-3  # a residual above it, or none (NaN), is a failure whatever the status

BarrierSolver = Literal["newton", "device", "scipy"]


def solve_on_host(
    method: Aggregator, gramian: Tensor, solve: Callable[[NDArray[np.float64]], Solution]
) -> Tensor:
    """The weights of a host solver, `[m]`, with its status in `method.metrics`.

    Where there is no row to balance (all gradients zero) the weights are 1: the plain sum of
    nothing.
    """
    return _weights(gramian, _solved(method, gramian, solve))


def solve_for_rows(
    method: Aggregator, signals: Signals, solve: Callable[[NDArray[np.float64]], Solution]
) -> Tensor:
    """:func:`solve_on_host` by a solver that also gives the rows that it sums: `method.adjusted`."""
    gramian = signals.gramian
    solution = _solved(method, gramian, solve)
    if signals.record and solution.rows is not None:
        rows = torch.from_numpy(solution.rows).to(gramian.device)
        method.adjusted = AdjustedRows.combined(gramian, rows)
    return _weights(gramian, solution)


def _solved(
    method: Aggregator, gramian: Tensor, solve: Callable[[NDArray[np.float64]], Solution]
) -> Solution:
    solution = solve(gramian.double().cpu().numpy())  # one device-to-host copy of [m, m]
    method.metrics.update(
        solver_residual=solution.residual,
        solver_iterations=float(solution.iterations),
        solver_failures=float(solution.failed or not solution.residual <= _UNCERTIFIED),
    )
    return solution


def _weights(gramian: Tensor, solution: Solution) -> Tensor:
    empty = solution.status == "empty"
    weights = np.ones(len(gramian)) if empty else solution.weights
    return torch.from_numpy(weights).to(gramian.device)


def solve_barrier(
    method: Aggregator,
    gramian: Tensor,
    target: Tensor,
    exponent: float,
    solver: BarrierSolver,
    ridge: float,
) -> Tensor:
    """Weights `[m]` with `(M a)_i = target_i a_i^(-exponent)`, by one of three solvers.

    Args:
        method: takes the metrics.
        gramian: M, `[m, m]`.
        target: `[m]`, positive.
        exponent: p.
        solver: `newton` on the host; `device`, the same in tensors of fixed shape; `scipy`, the
            least squares that several releases use, for reference.
        ridge: added to the diagonal of the cosines.
    """
    if solver == "device":
        weights, residual = power_barrier_on_device(gramian, target, exponent, ridge=ridge)
        method.metrics.update(
            solver_residual=residual, solver_failures=(~(residual <= 1e-6)).double()
        )
        return weights
    host_target = target.double().cpu().numpy()
    if solver == "scipy":
        return solve_on_host(method, gramian, lambda m: _least_squares(m, host_target, exponent))
    return solve_on_host(
        method, gramian, lambda m: power_barrier(m, host_target, exponent, ridge=ridge)
    )


def check_solver(solver: str, ridge: float) -> None:
    """Raise `ValueError` for a solver that does not exist or a negative ridge."""
    if solver not in ("newton", "device", "scipy"):
        raise ValueError(f"`solver` should be newton, device or scipy. Found {solver!r}.")
    if ridge < 0:
        raise ValueError(f"`ridge` should not be negative. Found {ridge}.")


def _least_squares(
    gramian: NDArray[np.float64], target: NDArray[np.float64], exponent: float
) -> Solution:
    """The published solve: bounded least squares from uniform weights."""
    from scipy.optimize import least_squares

    m = len(gramian)
    if not np.isfinite(gramian).all() or not gramian.any():
        return Solution(np.zeros(m), "empty", 0.0, 0)
    result = least_squares(
        lambda a: gramian @ a - target * a**-exponent, np.full(m, 1.0 / m), bounds=(0, np.inf)
    )
    with np.errstate(all="ignore"):
        residual = float(np.abs((gramian @ result.x) * result.x**exponent / target - 1.0).max())
    return Solution(result.x, "ok" if result.success else "stalled", residual, int(result.nfev))
