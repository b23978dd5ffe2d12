"""Nash-MTL: Multi-Task Learning as a Bargaining Game."""

from __future__ import annotations

import torch
from torch import Tensor

from mtrl.balancing.methods._power_barrier import BarrierSolver, PowerBarrier
from mtrl.balancing.signals import Signals


class NashMTL(PowerBarrier):
    """Weights solve `(M a)_i = 1 / a_i`: the direction maximises the product of the tasks' gains.

    Source: "Multi-Task Learning as a Bargaining Game", Navon et al., ICML 2022,
    https://arxiv.org/abs/2202.01017, equation 2.
    Differs from the released code: Newton's method solves the equations and certifies the residual
    (the release solves a sequence of conic programs, which is off by 4 to 40 times if gradient norms
    differ widely, and whose stopping test never holds). The method does not clip the direction. The
    release minimises the weighted loss over all parameters; here the gradients of heads are not
    weighted unless `head_scaling: weights` is set.
    State: the last weights `[m]` and the number of calls, for `update_every`.
    Scale: `|d|^2 = m` for all gradients; scaling one task's gradient changes nothing.
    Cost: the Gramian, O(m^3) on the host per step.

    Args:
        update_every: steps between solves; the steps between reuse the last weights.
        solver: `newton` on the host, `device` for CUDA graphs, or `scipy` for reference.
        ridge: added to the diagonal of the matrix of cosines; `scipy` ignores it.
    """

    informed = "own"
    paper = (
        '"Multi-Task Learning as a Bargaining Game", Navon et al., ICML 2022, '
        "https://arxiv.org/abs/2202.01017"
    )
    scale = "|d|^2 = m"
    checked_against = "TorchJD where it converges, closed form (m = 2), authors' code"
    differs = "Newton's method with a certified residual; not clipped"

    def __init__(
        self,
        num_tasks: int,
        num_shared: int,
        *,
        seed: int = 0,
        update_every: int = 1,
        solver: BarrierSolver = "newton",
        ridge: float = 1e-14,
    ) -> None:
        super().__init__(num_tasks, num_shared, seed=seed, exponent=1.0, solver=solver, ridge=ridge)
        if update_every < 1:
            raise ValueError(f"`update_every` should be at least 1 step. Found {update_every}.")
        self.update_every = update_every
        self.capturable = self.capturable and update_every == 1
        self.last_weights: Tensor
        self.calls: Tensor
        self.register_buffer("last_weights", torch.ones(num_tasks, dtype=torch.float64))
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def task_weights(self, signals: Signals) -> Tensor:
        """The solution a, `[m]`; zero for a task whose gradient is zero."""
        # Reading the counter on a GPU waits for it, so read it only if `update_every` needs it.
        due = self.update_every == 1 or int(self.calls) % self.update_every == 0
        self.calls += 1
        if due:
            self.last_weights.copy_(super().task_weights(signals))
        else:  # log the same metrics at every step
            self.metrics.update(solver_residual=0.0, solver_iterations=0.0, solver_failures=0.0)
        return self.last_weights.clone()
