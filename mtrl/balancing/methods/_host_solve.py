"""Call a host solver: copy the Gramian to the host, copy the weights back, log the status."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtrl.balancing.adjusted import AdjustedRows
from mtrl.balancing.base import Aggregator
from mtrl.balancing.direction import Weights
from mtrl.balancing.signals import Signals
from mtrl.balancing.solvers import Solution

_UNCERTIFIED = 1e-3  # a larger or NaN residual counts as a failure, even if the status is `ok`


def solve_on_host(
    method: Aggregator, gramian: Tensor, solve: Callable[[NDArray[np.float64]], Solution]
) -> Tensor:
    """The weights of a host solver, `[m]`; its status goes into `method.metrics`.

    If all gradients are zero there is nothing to balance, and the weights are 1.

    Args:
        method: the method that asks.
        gramian: M, `[m, m]`.
        solve: the solver, on M in numpy float64.
    """
    return _weights(gramian, _solved(method, gramian, solve))


def solve_for_rows(
    method: Aggregator, signals: Signals, solve: Callable[[NDArray[np.float64]], Solution]
) -> Weights:
    """As :func:`solve_on_host`, with a solver that also returns the rows that it sums."""
    gramian = signals.gramian
    solution = _solved(method, gramian, solve)
    adjusted = None
    if signals.diagnose and solution.rows is not None:
        rows = torch.from_numpy(solution.rows).to(gramian.device)
        adjusted = AdjustedRows.combined(gramian, rows)
    return Weights(_weights(gramian, solution), adjusted)


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
