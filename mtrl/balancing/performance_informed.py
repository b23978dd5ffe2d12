"""Performance-informed balancing: add omega to another method.

Source: the PI variants in Table 5 of "Revisiting Fairness in Multitask Learning: A
Performance-Driven Approach for Variance Reduction" (PIVRG), Qin, Wang and Yan, CVPR 2025,
https://openaccess.thecvf.com/content/CVPR2025/papers/Qin_Revisiting_Fairness_in_Multitask_Learning_A_Performance-Driven_Approach_for_Variance_CVPR_2025_paper.pdf.

A task that lags has a larger omega, and the update must turn towards it. There are two forms. A method
declares its form in `Aggregator.informed`.

`weights`: `d = sum_i omega_i a_i g_i`, where a are the method's weights without omega. If one task k
lags and the others are level, omega is `(r, 1, ..., 1)` up to a factor, with r > 1. Then

    d = d_0 + (r - 1) a_k g_k,    a_k >= 0.

Adding a positive multiple of `g_k` cannot lower the cosine with `g_k`. For the same reason a task that
leads alone cannot gain. The proof needs weights that are never negative, computed from the raw rows.
From the rows `omega_i g_i` MGDA would give a *smaller* weight to the row that omega made longer, and so
favour the task that leads. For LS, RLW and fixed weights this form is the paper's `omega * losses`. DWA,
UW and IMTL-L keep a history of the losses; here it is of the losses without omega. A history of
`omega * losses` would follow omega with a lag: a falling omega, still above 1, would favour the task
that leads. UW would cancel omega at its optimum.

`own`: the method puts omega into its own objective. Nash-MTL solves `(M a)_i = omega_i / a_i`, as in
the paper. FairGrad solves `(M a)_i = (omega_i / a_i)^(1/alpha)`, which is Nash-MTL for alpha = 1 and
PIVRG for alpha = 2. The direction maximises `sum_i omega_i U(g_i . d)` on a ball, with
`U' = x^-alpha`. As r grows, the maximum of `f(d) + r U(g_k . d)` has a `g_k . d` that does not fall.
The length of d is fixed, so the cosine with `g_k` does not fall.

MGDA and UPGrad promise that no task's loss rises. The first form breaks this promise: if two tasks
conflict strongly, favouring one costs the other. The second form keeps it.

A method that has neither form is refused, with the reason. If several tasks lag together, each pulls
the update towards itself, and one of them may lose to another.

With omega = 1 every method equals its base exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mtrl.balancing.base import Aggregator, Needs, Weighting
from mtrl.balancing.direction import Weights
from mtrl.balancing.omega import omega_measures, performance_weights
from mtrl.balancing.signals import Signals


@dataclass(frozen=True)
class PIOptions:
    """The options under the key `pi` of a method; see `mtrl.balancing.omega`.

    Attributes:
        min_temperature: tau*, in percentage points.
        bound: s, the largest ratio of two omegas.
    """

    min_temperature: float = 10.0
    bound: float = 2.0

    def __post_init__(self) -> None:
        if self.min_temperature <= 0:
            raise ValueError(
                f"`pi.min_temperature` should be positive. Found {self.min_temperature}."
            )
        if self.bound <= 1:
            raise ValueError(f"`pi.bound` should be above 1. Found {self.bound}. The default is 2.")

    def omega(self, signals: Signals) -> Tensor:
        """omega, `[m]` float64, on the device of the performance."""
        return performance_weights(
            signals.performance, min_temperature=self.min_temperature, bound=self.bound
        )

    def measures(self, signals: Signals) -> dict[str, Tensor]:
        """See :func:`mtrl.balancing.omega.omega_measures`."""
        return omega_measures(
            signals.performance, min_temperature=self.min_temperature, bound=self.bound
        )


def inform(base: Aggregator, options: PIOptions) -> Weighting:
    """The method `base` with performance-informed weights.

    Raises:
        ValueError: the method has no form that turns its update towards the task that lags.
    """
    if base.informed == "refused" or not isinstance(base, Weighting):
        raise ValueError(
            f"`pi` cannot inform {type(base).__name__}: {base.refusal}. Use ls, nash_mtl, fairgrad or"
            " another method whose weights are never negative."
        )
    return InformedWeighting(base, options)


class InformedWeighting(Weighting):
    """A weighting that favours the tasks whose performance lags; see the module docstring.

    State: that of the base method, under `base`. Scale: that of the base method, times omega.

    Args:
        base: the method to inform.
        options: options of omega.
    """

    paper = (
        "PI layer: Revisiting Fairness in Multitask Learning: A Performance-Driven Approach for"
        " Variance Reduction, Qin et al., CVPR 2025"
    )
    refusal = "it is informed already"

    def __init__(self, base: Weighting, options: PIOptions) -> None:
        super().__init__(base.num_tasks, base.num_shared, seed=base.seed)
        self.base = base
        self.options = options
        self.needs = base.needs | Needs.PERFORMANCE
        self.positive_losses = base.positive_losses
        self.weighs_losses = base.weighs_losses
        self.capturable = base.capturable

    def task_weights(self, signals: Signals) -> Weights:
        """The base method's weights times omega, or its own solution with omega, `[m]`."""
        omega = self.options.omega(signals)
        if self.base.informed == "own":
            weights, adjusted = Weights.of(self.base.task_weights(signals.replaced(omega=omega)))
        else:
            weights, adjusted = Weights.of(self.base.task_weights(signals))
            weights = weights * omega.to(weights.device)
        self.metrics.update(self.base.metrics)
        self.metrics["omega"] = omega
        if signals.diagnose:
            self.metrics |= self.options.measures(signals)
        return Weights(weights, adjusted)

    def observe_after(self, losses: Tensor) -> None:
        """Pass the losses on to the base method."""
        self.base.observe_after(losses)
