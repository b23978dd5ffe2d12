"""Solve a method's problem on the host: one copy down, one copy up, the solver's status in the log."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtrl.balancing.adjusted import AdjustedRows
from mtrl.balancing.base import Aggregator
from mtrl.balancing.signals import Signals
from mtrl.balancing.solvers import Solution

_UNCERTIFIED = 1e-3  # a residual above it, or none (NaN), is a failure whatever the status


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
