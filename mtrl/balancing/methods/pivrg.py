"""PIVRG: performance-informed variance reduction of gradients."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtrl.balancing.base import Needs, Signals, Weighting
from mtrl.balancing.omega import performance_weights
from mtrl.balancing.solvers import Solution, power_barrier


class PIVRG(Weighting):
    """Weights solve `(M a)_i = sqrt(omega_i / a_i)`; lagging tasks have a larger omega.

    Source: "PIVRG", CVPR 2025, equation 4 and its stationarity; omega as in `mtrl.balancing.omega`.
    Differs from the released code: the equations are solved by Newton's method to a certified
    residual (`solver: scipy` is the released least-squares solve, which fails silently where
    gradient norms differ by orders of magnitude); performance carries its unit, so that fractions
    cannot be taken for percentages; no factor m is put on the direction. At omega = 1 it equals
    FairGrad with alpha = 2.
    State: none. Scale: `|d|^2 = sum sqrt(omega_i a_i)`; J -> s J gives d -> s^(-1/3) d.
    Cost: the Gramian, O(m^3) on the host per step.

    Args:
        min_temperature: tau*, percentage points; the paper uses 10, 20 or 100 by benchmark.
        bound: s, the largest ratio of two omegas; the paper uses 1.8 or 2.
        solver: `newton`, or `scipy` for the published reference.
        ridge: added to the diagonal of the cosines (`newton` only).
    """

    needs = Needs.GRAMIAN | Needs.PERFORMANCE
    capturable = False
    paper = "PIVRG, CVPR 2025"

    def __init__(
        self,
        num_tasks: int,
        num_shared: int,
        *,
        seed: int = 0,
        min_temperature: float = 10.0,
        bound: float = 2.0,
        solver: Literal["newton", "scipy"] = "newton",
        ridge: float = 1e-14,
    ) -> None:
        super().__init__(num_tasks, num_shared, seed=seed)
        if min_temperature <= 0:
            raise ValueError(f"`min_temperature` should be positive. Found {min_temperature}.")
        if bound <= 1:
            raise ValueError(f"`bound` should be above 1. Found {bound}. The paper uses 2.")
        if ridge < 0:
            raise ValueError(f"`ridge` should not be negative. Found {ridge}.")
        if solver not in ("newton", "scipy"):
            raise ValueError(f"`solver` should be newton or scipy. Found {solver!r}.")
        self.min_temperature = min_temperature
        self.bound = bound
        self.solver = solver
        self.ridge = ridge

    def task_weights(self, signals: Signals) -> Tensor:
        """The solution a, `[m]`; zero for a task whose gradient is zero."""
        omega = performance_weights(
            signals.performance, min_temperature=self.min_temperature, bound=self.bound
        )
        gramian = signals.gramian
        host_gramian = gramian.double().cpu().numpy()  # one device-to-host copy of [m, m]
        host_omega = omega.cpu().numpy()
        if self.solver == "scipy":
            solution = _published_solver(host_gramian, host_omega)
        else:
            solution = power_barrier(host_gramian, np.sqrt(host_omega), 0.5, ridge=self.ridge)
        fallback = solution.status == "empty"
        # Nothing to balance (all gradients zero or overflowing): the plain sum is harmless.
        weights = np.ones(self.num_tasks) if fallback else solution.weights
        self.metrics.update(
            omega=omega,
            solver_residual=solution.residual,
            solver_iterations=float(solution.iterations),
            solver_failures=float(solution.status not in ("ok", "floor")),
        )
        return torch.from_numpy(weights).to(gramian.device)


def _published_solver(gramian: NDArray[np.float64], omega: NDArray[np.float64]) -> Solution:
    """The released code's solve: bounded least squares from uniform weights."""
    from scipy.optimize import least_squares

    m = len(gramian)
    if not np.isfinite(gramian).all() or not gramian.any():
        return Solution(np.zeros(m), "empty", 0.0, 0)
    result = least_squares(
        lambda a: gramian @ a - np.sqrt(omega / a), np.full(m, 1.0 / m), bounds=(0, np.inf)
    )
    residual = float(np.abs((gramian @ result.x) * np.sqrt(result.x / omega) - 1.0).max())
    return Solution(result.x, "ok" if result.success else "stalled", residual, int(result.nfev))
