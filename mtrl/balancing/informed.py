"""Performance-informed balancing: omega as a layer over any method.

Source: the PI variants of PIVRG (CVPR 2025), Table 5. Loss weightings see `omega * losses` wherever
they read losses, their histories included, as in the paper; `history: raw` lets them read the
losses as they are, and omega multiplies their weights alone. Nash-MTL and FairGrad have a form of
their own, `(M a)_i = (omega_i / a_i)^(1/alpha)`. Other gradient methods see the rows `omega_i g_i`,
which is our reading, as the paper gives none. Where omega would cancel the layer is refused with
the reason.

With omega = 1 every method equals its base exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from mtrl.balancing.base import Aggregator, Needs, Weighting
from mtrl.balancing.omega import omega_measures, performance_weights
from mtrl.balancing.signals import Signals


@dataclass(frozen=True)
class PIOptions:
    """Options of the layer, under the key `pi` of a method's options.

    Attributes:
        min_temperature: tau*, percentage points; see `mtrl.balancing.omega`.
        bound: s, the largest ratio of two omegas.
        history: `informed`, a loss weighting sees omega * losses everywhere; `raw`, it sees the
            losses.
    """

    min_temperature: float = 10.0
    bound: float = 2.0
    history: Literal["informed", "raw"] = "informed"

    def __post_init__(self) -> None:
        if self.min_temperature <= 0:
            raise ValueError(
                f"`pi.min_temperature` should be positive. Found {self.min_temperature}."
            )
        if self.bound <= 1:
            raise ValueError(f"`pi.bound` should be above 1. Found {self.bound}. The paper uses 2.")
        if self.history not in ("informed", "raw"):
            raise ValueError(f"`pi.history` should be informed or raw. Found {self.history!r}.")

    def omega(self, signals: Signals) -> Tensor:
        """`[m]` float64, on the device of the performance."""
        return performance_weights(
            signals.performance, min_temperature=self.min_temperature, bound=self.bound
        )

    def measures(self, signals: Signals) -> dict[str, Tensor]:
        """See :func:`mtrl.balancing.omega.omega_measures`."""
        return omega_measures(
            signals.performance, min_temperature=self.min_temperature, bound=self.bound
        )


def inform(base: Aggregator, options: PIOptions) -> Aggregator:
    """The method `base` with performance-informed weights.

    Raises:
        ValueError: the method divides omega out, or `history` is set where there is no history.
    """
    name = type(base).__name__
    if base.informed == "refused":
        raise ValueError(
            f"`pi` cannot inform {name}: {base.refusal}. Use ls, nash_mtl, fairgrad or another"
            " method that keeps the scale of a task."
        )
    if options.history == "raw" and base.informed != "losses":
        raise ValueError(
            f"`pi.history` is an option for methods that read losses. {name} reads gradients."
            " Leave it out."
        )
    if isinstance(base, Weighting):
        return InformedWeighting(base, options)
    return InformedAggregator(base, options)


class InformedWeighting(Weighting):
    """A weighting over tasks that performance has weighted; see the module.

    State: the base method's, under `base`. Scale: the base method's of the informed rows.

    Args:
        base: the method to inform.
        options: of the layer.
    """

    paper = "PI layer, PIVRG, CVPR 2025"
    informed = "refused"
    refusal = "it is informed already"

    def __init__(self, base: Weighting, options: PIOptions) -> None:
        super().__init__(base.num_tasks, base.num_shared, seed=base.seed)
        self.base = base
        self.options = options
        self.needs = base.needs | Needs.PERFORMANCE
        self.positive_losses = base.positive_losses
        self.capturable = base.capturable

    def task_weights(self, signals: Signals) -> Tensor:
        """The base method's weights of the informed tasks, times omega where it scaled them."""
        omega = self.options.omega(signals)
        raw = self.options.history == "raw"
        weights = self.base.task_weights(signals if raw else _informed(self.base, signals, omega))
        self.metrics.update(self.base.metrics)
        self.metrics["omega"] = omega
        if signals.record:
            self.adjusted = self.base.adjusted
            self.metrics |= self.options.measures(signals)
        return weights if self.base.informed == "own" else weights * omega.to(weights.device)

    def observe_after(self, losses: Tensor) -> None:
        """Passed on to the base method."""
        self.base.observe_after(losses)


class InformedAggregator(Aggregator):
    """A method on coordinates over rows that performance has weighted; see the module.

    State: the base method's, under `base`. Scale: the base method's of the informed rows.

    Args:
        base: the method to inform.
        options: of the layer.
    """

    paper = "PI layer, PIVRG, CVPR 2025"
    informed = "refused"
    refusal = "it is informed already"

    def __init__(self, base: Aggregator, options: PIOptions) -> None:
        super().__init__(base.num_tasks, base.num_shared, seed=base.seed)
        self.base = base
        self.options = options
        self.needs = base.needs | Needs.PERFORMANCE
        self.positive_losses = base.positive_losses
        self.capturable = base.capturable

    def direction(self, signals: Signals) -> Tensor:
        """The base method's direction for the informed rows, `[n]`."""
        omega = self.options.omega(signals)
        direction = self.base.direction(_informed(self.base, signals, omega))
        self.metrics.update(self.base.metrics)
        self.metrics["omega"] = omega
        if signals.record:
            self.adjusted = self.base.adjusted
            self.metrics |= self.options.measures(signals)
        return direction


def _informed(base: Aggregator, signals: Signals, omega: Tensor) -> Signals:
    if base.informed == "own":
        return signals.replaced(omega=omega)
    return signals.scaled(omega, rows=base.informed == "rows")
