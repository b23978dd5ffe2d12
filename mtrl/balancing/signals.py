"""One step's facts for a method: losses, gradients, performance, and what follows from them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from mtrl.balancing.capture import is_capturing, may_read
from mtrl.balancing.gradients import TaskGradients
from mtrl.errors import MtrlError


@dataclass(frozen=True)
class Performance:
    """How well each task is doing, with its unit and direction.

    Attributes:
        values: `[m]`; NaN where nothing is known yet.
        baseline: what `values` is compared with, `[m]` or a number (single-task results, or 1 for a
            success rate), in the unit of `values`.
        higher_is_better: whether larger values are better.
    """

    values: Tensor
    baseline: Tensor | float = 1.0
    higher_is_better: bool = True
    _known: dict[object, tuple[int, Tensor]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def of(cls, performance: Tensor | Performance) -> Performance:
        """A bare tensor is a success rate in [0, 1], higher is better.

        Raises:
            ValueError: a rate outside [0, 1], a percentage for instance.
        """
        if isinstance(performance, Performance):
            return performance
        if may_read(performance) and _outside(performance.numpy()):
            raise ValueError(
                "`performance` as a bare tensor is a success rate in [0, 1]. Found values"
                f" from {performance.min():g} to {performance.max():g}. Divide percentages by 100,"
                " or pass `Performance(values, baseline=..., higher_is_better=...)`."
            )
        return cls(performance)

    def drop_percent(self) -> Tensor:
        """Shortfall against the baseline in percent, `[m]`; higher is worse, NaN stays NaN."""
        percent = 100.0 if self.higher_is_better else -100.0
        # A baseline near zero (a task that single-task training does not solve) would explode.
        if isinstance(self.baseline, Tensor):
            baseline = self.baseline.to(self.values)
            return percent * (baseline - self.values) / baseline.abs().clamp_min(0.05)
        return (self.baseline - self.values) * (percent / max(abs(self.baseline), 0.05))

    def once(self, key: object, compute: Callable[[], Tensor]) -> Tensor:
        """Cache a value derived from `values`, which critic and actor share."""
        # Values may change in place. A value computed during a capture and one that the host computes
        # between two captured graphs (`mtrl.balancing.capture`) are kept apart.
        version, place = self.values._version, (key, is_capturing())
        found = self._known.get(place)
        if found is None or found[0] != version:
            found = self._known[place] = (version, compute())
        return found[1]


def _outside(rates: NDArray) -> bool:
    return bool(((rates < 0) | (rates > 1)).any())


def is_finite(values: Tensor) -> Tensor:
    """`torch.isfinite` in two operations in place of four: x - x is 0, or NaN."""
    return (values - values) == 0


class MissingSignalError(MtrlError, LookupError):
    """A method read a signal that its caller did not provide."""


class Signals:
    """One step's facts for a method, all detached.

    Args:
        losses: `[m]`.
        jacobian: `[m, n]`, wrapped as one block of :class:`TaskGradients`.
        gradients: the same as blocks; what trainers pass.
        gramian: `[m, m]`; computed from the gradients unless given, once.
        performance: `[m]` success rates in [0, 1] or a :class:`Performance`.
        omega: `[m]` weights of the tasks in a method's own objective; set by the
            performance-informed layer for methods with a form of their own, otherwise absent.
        diagnose: whether the caller wants what is measured only now and then: a method then also
            returns the rows that it changed, and may add to its metrics. The step stays the same.

    Reading what was not given raises :class:`MissingSignalError`.
    """

    def __init__(
        self,
        *,
        losses: Tensor | None = None,
        jacobian: Tensor | None = None,
        gradients: TaskGradients | None = None,
        gramian: Tensor | None = None,
        performance: Tensor | Performance | None = None,
        omega: Tensor | None = None,
        diagnose: bool = False,
    ) -> None:
        if jacobian is not None:
            if gradients is not None:
                raise ValueError("Give `jacobian` or `gradients`, not both.")
            gradients = TaskGradients([jacobian.detach()])
        self._losses = None if losses is None else losses.detach()
        self._gradients = gradients
        self._gramian = None if gramian is None else gramian.detach()
        self._performance = None if performance is None else Performance.of(performance)
        self.omega = omega
        self.diagnose = diagnose

    @property
    def losses(self) -> Tensor:
        """The tasks' losses, `[m]`."""
        return self._require(self._losses, "losses")

    @property
    def positive_losses(self) -> Tensor:
        """`[m]` float64, at least 1e-12, for methods that take logarithms or ratios."""
        return self.losses.double().clamp(1e-12, 1e300)

    @property
    def gradients(self) -> TaskGradients:
        """Per-task gradients of the shared parameters."""
        return self._require(self._gradients, "gradients")

    @property
    def performance(self) -> Performance:
        """How well each task is doing."""
        return self._require(self._performance, "performance")

    @property
    def gramian(self) -> Tensor:
        """`[m, m]` inner products of the task gradients, float64."""
        if self._gramian is None:
            self._gramian = self._require(self._gradients, "gramian").gramian()
        return self._gramian

    @functools.cached_property
    def finite_losses(self) -> Tensor:
        """Whether each loss is finite, `[m]` booleans."""
        return is_finite(self.losses)

    def prepare(self) -> None:
        """Compute the cached values now, before code on the host reads them."""
        if self._gradients is not None:
            _ = self.gramian
        _ = self.finite_rows()  # and with it the finite losses

    def finite_rows(self) -> Tensor:
        """Whether what is known of each task, gradient and loss, is finite, `[m]` booleans."""
        return self._finite_rows

    @functools.cached_property
    def _finite_rows(self) -> Tensor:
        keep = None if self._losses is None else self.finite_losses
        if self._gradients is not None or self._gramian is not None:
            rows = is_finite(self.gramian.diagonal())
            keep = rows if keep is None else keep & rows
        return self._require(keep, "losses")

    def masked(self, keep: Tensor) -> Signals:
        """These signals with the rows of other tasks set to zero, and a loss of 1 for NaN."""
        gradients = None if self._gradients is None else self._gradients.masked(keep)
        gramian = None
        if self._gradients is not None or self._gramian is not None:
            gramian = torch.where(keep[:, None] & keep[None, :], self.gramian, 0.0)
        losses = self._losses
        if losses is not None:
            losses = torch.where(self.finite_losses, losses, 1.0)
        return self.replaced(losses=losses, gradients=gradients, gramian=gramian)

    def replaced(self, **changes: Any) -> Signals:
        """These signals with some of them exchanged."""
        known = {
            "losses": self._losses,
            "gradients": self._gradients,
            "gramian": self._gramian,
            "performance": self._performance,
            "omega": self.omega,
            "diagnose": self.diagnose,
        }
        return Signals(**(known | changes))

    @staticmethod
    def _require(value: Any, name: str) -> Any:
        if value is None:
            raise MissingSignalError(
                f"The method reads `{name}`, which its caller did not provide. Pass it to `Signals`"
                ", or choose a method that does not need it."
            )
        return value
