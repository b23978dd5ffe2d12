"""PIVRG: Revisiting Fairness in Multitask Learning: A Performance-Driven Approach for Variance
Reduction.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from mtrl.balancing.base import Needs
from mtrl.balancing.methods._power_barrier import BarrierSolver, PowerBarrier
from mtrl.balancing.omega import omega_measures, performance_weights
from mtrl.balancing.signals import Signals


class PIVRG(PowerBarrier):
    """Weights solve `(M a)_i = sqrt(omega_i / a_i)`; tasks that lag have a larger omega.

    Source: "Revisiting Fairness in Multitask Learning: A Performance-Driven Approach for Variance
    Reduction", Qin, Wang and Yan, CVPR 2025,
    https://openaccess.thecvf.com/content/CVPR2025/papers/Qin_Revisiting_Fairness_in_Multitask_Learning_A_Performance-Driven_Approach_for_Variance_CVPR_2025_paper.pdf,
    stationarity of equation 4; omega as in `mtrl.balancing.omega`.
    Differs from the released code: Newton's method solves the equations and certifies the residual
    (`solver: scipy` is the released least-squares solver, which fails without a message if gradient
    norms differ by orders of magnitude). `Performance` states its unit, so fractions cannot be
    mistaken for percentages. The direction is not multiplied by m. With omega = 1 PIVRG is FairGrad
    with alpha = 2.
    State: none. Scale: `|d|^2 = sum sqrt(omega_i a_i)`; J -> s J gives d -> s^(-1/3) d.
    Cost: the Gramian, O(m^3) on the host per step.

    Args:
        min_temperature: tau*, in percentage points. The paper prints no value; released code uses 10
            (NYUv2, CelebA), 20 (Cityscapes) or 100 (QM9).
        bound: s, the largest ratio of two omegas. The paper prints only ranges of the lower and the
            upper bound of omega, [0.5, 0.8] and [1.2, 2]; released code uses 2 (NYUv2, CelebA) or 1.8
            (Cityscapes, QM9). No values for RL are published.
        omega: `performance`, or `one`. `one` sets omega to 1 for every task; it is the control that
            shows the effect of performance.
        solver: `newton` on the host, `device` for CUDA graphs, or `scipy`, the published reference.
        ridge: added to the diagonal of the matrix of cosines; `scipy` ignores it.
    """

    needs = Needs.GRAMIAN | Needs.PERFORMANCE
    refusal = "it reads performance itself: set its options `min_temperature` and `bound`"
    paper = (
        '"Revisiting Fairness in Multitask Learning: A Performance-Driven Approach for '
        'Variance Reduction", Qin, Wang and Yan, CVPR 2025, '
        "https://openaccess.thecvf.com/content/CVPR2025/papers/Qin_Revisiting_Fairness_in_Multitask_Learning_A_Performance-Driven_Approach_for_Variance_CVPR_2025_paper.pdf"
    )
    scale = "d ~ s^(-1/3)"
    checked_against = "scipy's least squares, closed form (orthogonal), authors' code"
    differs = (
        "Newton's method with a certified residual; performance states its unit; not multiplied by m;"
        " `omega: one` is the control"
    )

    def __init__(
        self,
        num_tasks: int,
        num_shared: int,
        *,
        seed: int = 0,
        min_temperature: float = 10.0,
        bound: float = 2.0,
        omega: Literal["performance", "one"] = "performance",
        solver: BarrierSolver = "newton",
        ridge: float = 1e-14,
    ) -> None:
        super().__init__(num_tasks, num_shared, seed=seed, exponent=0.5, solver=solver, ridge=ridge)
        if min_temperature <= 0:
            raise ValueError(f"`min_temperature` should be positive. Found {min_temperature}.")
        if bound <= 1:
            raise ValueError(f"`bound` should be above 1. Found {bound}. The default is 2.")
        if omega not in ("performance", "one"):
            raise ValueError(f"`omega` should be performance or one. Found {omega!r}.")
        self.informed_by = omega
        if omega == "one":
            self.needs = Needs.GRAMIAN
        self.min_temperature = min_temperature
        self.bound = bound

    def omega(self, signals: Signals) -> Tensor:
        """omega, `[m]` float64: from the performance, or 1 for every task."""
        if self.informed_by == "one":
            omega = self.metrics["omega"] = super().omega(signals)
            return omega
        options = {"min_temperature": self.min_temperature, "bound": self.bound}
        omega = performance_weights(signals.performance, **options).to(signals.gramian.device)
        self.metrics["omega"] = omega
        if signals.diagnose:
            self.metrics |= omega_measures(signals.performance, **options)
        return omega
