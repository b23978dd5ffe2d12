"""FairGrad: Fair Resource Allocation in Multi-Task Learning."""

from __future__ import annotations

from mtrl.balancing.methods._power_barrier import BarrierSolver, PowerBarrier


class FairGrad(PowerBarrier):
    """Weights solve `(M a)_i = a_i^(-1/alpha)`: an alpha-fair division of the tasks' gains.

    The limit alpha -> 0 is the plain sum, alpha = 1 is Nash-MTL, alpha = 2 is PIVRG with equal
    performance. Large alpha approaches the direction whose smallest gain is largest.

    Source: "Fair Resource Allocation in Multi-Task Learning", Ban and Ji, ICML 2024,
    https://arxiv.org/abs/2402.15638, equation 5.
    Differs from the released code: we use Newton's method and certify the residual (the release uses
    least squares, and for RL 20 steps of gradient descent, whose median error is 0.3 to 20 times the
    solution); the direction is not multiplied by m.
    State: none. Scale: J -> s J gives d -> s^((1 - alpha) / (1 + alpha)) d.
    Cost: the Gramian, O(m^3) on the host per step.

    Args:
        alpha: degree of fairness; all released scripts use 2.
        solver: `newton` on the host, `device` for CUDA graphs, or `scipy` for reference.
        ridge: added to the diagonal of the matrix of cosines; `scipy` ignores it.
    """

    informed = "own"
    paper = (
        '"Fair Resource Allocation in Multi-Task Learning", Ban and Ji, ICML 2024, '
        "https://arxiv.org/abs/2402.15638"
    )
    scale = "d ~ s^((1 - alpha) / (1 + alpha))"
    checked_against = "scipy's least squares, authors' code"
    differs = "Newton's method with a certified residual; not multiplied by m"

    def __init__(
        self,
        num_tasks: int,
        num_shared: int,
        *,
        seed: int = 0,
        alpha: float = 2.0,
        solver: BarrierSolver = "newton",
        ridge: float = 1e-14,
    ) -> None:
        if not 0.01 <= alpha <= 100:
            raise ValueError(f"`alpha` should be in [0.01, 100]. Found {alpha}.")
        super().__init__(
            num_tasks, num_shared, seed=seed, exponent=1.0 / alpha, solver=solver, ridge=ridge
        )
