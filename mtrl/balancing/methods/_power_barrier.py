"""Base of Nash-MTL, FairGrad and PIVRG: weights a that solve `(M a)_i = (omega_i / a_i)^p`."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtrl.balancing.base import Needs, Weighting
from mtrl.balancing.methods._host_solve import solve_on_host
from mtrl.balancing.signals import Signals
from mtrl.balancing.solvers import Solution, power_barrier, power_barrier_on_device

BarrierSolver = Literal["newton", "device", "scipy"]


class PowerBarrier(Weighting):
    """The task weights a solve `(M a)_i = (omega_i / a_i)^p`, where M is the Gramian.

    Args:
        exponent: p.
        solver: `newton` on the host; `device`, the same with tensors of fixed shape; `scipy`, the
            least-squares solver of several releases, for reference.
        ridge: added to the diagonal of the matrix of cosines; `scipy` ignores it.
    """

    needs = Needs.GRAMIAN
    capturable = False

    def __init__(
        self,
        num_tasks: int,
        num_shared: int,
        *,
        seed: int,
        exponent: float,
        solver: BarrierSolver,
        ridge: float,
    ) -> None:
        super().__init__(num_tasks, num_shared, seed=seed)
        if solver not in ("newton", "device", "scipy"):
            raise ValueError(f"`solver` should be newton, device or scipy. Found {solver!r}.")
        if ridge < 0:
            raise ValueError(f"`ridge` should not be negative. Found {ridge}.")
        self.exponent = exponent
        self.solver: BarrierSolver = solver
        self.ridge = ridge
        self.capturable = solver == "device"

    def omega(self, signals: Signals) -> Tensor:
        """`[m]` float64, positive; 1 unless the performance-informed layer sets it."""
        if signals.omega is not None:
            return signals.omega.double()
        return torch.ones(self.num_tasks, dtype=torch.float64, device=signals.gramian.device)

    def task_weights(self, signals: Signals) -> Tensor:
        """The solution a, `[m]`; zero for a task whose gradient is zero."""
        gramian, p = signals.gramian, self.exponent
        target = self.omega(signals) ** p
        if self.solver == "device":
            weights, residual = power_barrier_on_device(gramian, target, p, ridge=self.ridge)
            self.metrics.update(
                solver_residual=residual, solver_failures=(~(residual <= 1e-6)).double()
            )
            return weights
        c = target.cpu().numpy()
        if self.solver == "scipy":
            return solve_on_host(self, gramian, lambda m: _least_squares(m, c, p))
        return solve_on_host(self, gramian, lambda m: power_barrier(m, c, p, ridge=self.ridge))


def _least_squares(
    gramian: NDArray[np.float64], target: NDArray[np.float64], exponent: float
) -> Solution:
    """The solver of the releases: bounded least squares from uniform weights."""
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
