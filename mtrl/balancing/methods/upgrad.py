"""UPGrad: Jacobian Descent for Multi-Objective Optimization."""

from __future__ import annotations

from mtrl.balancing.base import Needs, Weighting
from mtrl.balancing.direction import Weights
from mtrl.balancing.methods._host_solve import solve_for_rows
from mtrl.balancing.signals import Signals
from mtrl.balancing.solvers import dual_cone_weights


class UPGrad(Weighting):
    """Project each gradient on the cone of directions that conflict with no task, and average them.

    Source: "Jacobian Descent for Multi-Objective Optimization", Quinton and Rey, 2024,
    https://arxiv.org/abs/2406.16232, equation 3.
    Differs from TorchJD: active sets on the cosines solve the quadratic programs exactly. So there is
    no absolute regularisation, and the method is homogeneous in J.
    State: none. Scale: the mean if no gradients conflict; J -> s J gives d -> s d. No task's loss
    increases to first order.
    Cost: the Gramian, m quadratic programs on the host.
    """

    needs = Needs.GRAMIAN
    capturable = False
    informed = "weights"
    paper = (
        '"Jacobian Descent for Multi-Objective Optimization", Quinton and Rey, 2024, '
        "https://arxiv.org/abs/2406.16232"
    )
    scale = "the mean if nothing conflicts"
    checked_against = "TorchJD, brute force over faces, released code"
    differs = "no absolute regularisation"

    def task_weights(self, signals: Signals) -> Weights:
        """Weights, `[m]`; zero for a zero row."""
        weights, rows = solve_for_rows(self, signals, dual_cone_weights)
        return Weights(weights / self.num_tasks, rows)
