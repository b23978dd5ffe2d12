"""The contract between a balancing method and whoever has task losses.

Letters: `m` tasks, `n` shared (trunk) parameters. A gradient row belongs to a task.
"""

from __future__ import annotations

import abc
import enum
import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mtrl.balancing.gradients import TaskGradients
from mtrl.balancing.host import may_read


class Needs(enum.Flag):
    """What a method reads at each step. The caller computes that and nothing else."""

    NOTHING = 0
    LOSSES = enum.auto()  # [m]
    GRAMIAN = enum.auto()  # [m, m]
    PRODUCTS = enum.auto()  # J.dot(v) and J.combine(w) with vectors of the method's own
    MATRIX = enum.auto()  # [m, n] itself
    PERFORMANCE = enum.auto()  # [m]
    LOSSES_AFTER = enum.auto()  # [m], on the same batch after the optimiser's step
    FEATURES = enum.auto()  # gradients of the shared representation
    VALIDATION = enum.auto()  # losses on a validation batch


GRADIENTS = Needs.GRAMIAN | Needs.PRODUCTS | Needs.MATRIX
"""Needs that only per-task gradients can meet."""


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
    _known: dict[object, Tensor] = field(
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
        """What follows from this performance, computed for whoever asks first: critic and actor."""
        if key not in self._known:
            self._known[key] = compute()
        return self._known[key]


def _outside(rates: NDArray) -> bool:
    return bool(((rates < 0) | (rates > 1)).any())


def is_finite(values: Tensor) -> Tensor:
    """`torch.isfinite` in two operations in place of four: x - x is 0, or NaN."""
    return (values - values) == 0


class MissingSignalError(LookupError):
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

    @property
    def losses(self) -> Tensor:
        """`[m]`"""
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
        """`[m]` booleans."""
        return is_finite(self.losses)

    def finite_rows(self) -> Tensor:
        """`[m]` booleans: whether what is known of a task, gradient and loss, is finite."""
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

    def scaled(self, omega: Tensor, *, rows: bool) -> Signals:
        """These signals with the losses, and the gradients if `rows`, times `omega [m]`."""
        changes: dict[str, Any] = {}
        if self._losses is not None:
            changes["losses"] = self._losses * omega.to(self._losses)
        if rows and self._gradients is not None:
            changes["gradients"] = self._gradients.scaled(omega)
        if rows and (self._gradients is not None or self._gramian is not None):
            scale = omega.to(self.gramian)
            changes["gramian"] = self.gramian * scale[:, None] * scale[None, :]
        return self.replaced(**changes)

    def replaced(self, **changes: Any) -> Signals:
        """These signals with some of them exchanged."""
        known = {
            "losses": self._losses,
            "gradients": self._gradients,
            "gramian": self._gramian,
            "performance": self._performance,
            "omega": self.omega,
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


class Aggregator(nn.Module, abc.ABC):
    """Turns per-task gradients into one direction for the shared parameters.

    A subclass implements :meth:`direction`; callers use :meth:`aggregate`, which settles what is
    the same for every method: one task is returned unchanged, and a row that is not finite is left
    out of the step and counted. State is made of buffers with their final shape at construction, so
    that `state_dict` is strict, and advances once per call.

    Attributes:
        needs: the signals that the method reads; an instance may need more than its class, where an
            option asks for it.
        positive_losses: it takes logarithms or ratios of losses, so it cannot serve an SAC actor.
        capturable: no host work, so it can live in a CUDA graph; an option may change it.
        informed: how performance-informed weights omega enter (`mtrl.balancing.informed`):
            `losses`, the method sees omega * losses; `rows`, it sees the rows omega_i g_i; `own`,
            it reads `signals.omega`; `refused`.
        refusal: why they are refused.
        example_options: for two tasks, where a method cannot be made without options.
        paper: where the method comes from.
        scale: of its direction.
        checked_against: what its answers were compared with.
        differs: from the paper or from released code, in short; the docstring says more.
        metrics: facts about the last call, for the log.
    """

    needs: Needs
    positive_losses: bool = False
    capturable: bool = True
    informed: ClassVar[Literal["losses", "rows", "own", "refused"]] = "rows"
    refusal: ClassVar[str] = ""
    example_options: ClassVar[dict[str, Any]] = {}
    paper: ClassVar[str]
    scale: ClassVar[str] = "undocumented"
    checked_against: ClassVar[str] = "nothing yet"
    differs: ClassVar[str] = "undocumented"

    def __init__(self, num_tasks: int, num_shared: int, *, seed: int = 0) -> None:
        super().__init__()
        if num_tasks < 1 or num_shared < 1:
            raise ValueError(
                f"A method balances at least one task and one shared parameter. Found num_tasks="
                f"{num_tasks}, num_shared={num_shared}."
            )
        self.num_tasks = num_tasks
        self.num_shared = num_shared
        self.seed = seed
        self.metrics: dict[str, Tensor | float] = {}
        self._keep: Tensor | None = None  # rows admitted in the current call

    def aggregate(self, signals: Signals) -> Tensor:
        """The direction to descend, `[n]`, in the method's native scale (uniform is the sum)."""
        return torch.cat([block.flatten() for block in self.aggregate_blocks(signals)])

    @torch.no_grad()
    def aggregate_blocks(self, signals: Signals) -> list[Tensor]:
        """The same direction as one tensor per parameter, which spares the concatenation."""
        signals = self._admit(signals)
        if self.num_tasks == 1:
            return signals.gradients.combine_blocks(torch.ones(1, device=signals.gramian.device))
        return self._blocks(signals)

    @torch.no_grad()
    def observe_after(self, losses: Tensor) -> None:
        """Take the losses `[m]` on the same batch after the optimiser's step.

        Callers call it once per step where `needs` has `LOSSES_AFTER`; elsewhere it does nothing.
        """

    @classmethod
    def example_tasks(cls, options: dict[str, Any]) -> int:
        """A number of tasks that the options fit, for checking them before there is a problem."""
        return 2

    @abc.abstractmethod
    def direction(self, signals: Signals) -> Tensor:
        """The method itself: `[n]`. At least two tasks, all rows finite."""

    def _blocks(self, signals: Signals) -> list[Tensor]:
        return signals.gradients.split(self.direction(signals))

    def _admit(self, signals: Signals) -> Signals:
        self.metrics = {}
        keep = signals.finite_rows()
        if len(keep) != self.num_tasks:
            raise ValueError(
                f"The method was built for {self.num_tasks} tasks. Found signals of {len(keep)}."
            )
        masked = self.metrics["masked_tasks"] = (~keep).sum()
        self._keep = keep
        # On the host a look is free; a device masks always, because a look would stall it.
        if may_read(keep) and int(masked) == 0:
            return signals
        return signals.masked(keep)


class Weighting(Aggregator):
    """A method whose direction is a combination of the task gradients: the usual case.

    A subclass implements :meth:`task_weights`; callers use :meth:`weights` or `aggregate`.

    Attributes:
        uniform: every weight is always 1, so one backward pass serves the trunk and the heads.
    """

    uniform: ClassVar[bool] = False

    @torch.no_grad()
    def weights(self, signals: Signals) -> Tensor:
        """The weights of the tasks, `[m]`; zero for a task whose gradient is not finite."""
        return self._weights(self._admit(signals))

    @abc.abstractmethod
    def task_weights(self, signals: Signals) -> Tensor:
        """The method itself: `[m]`. At least two tasks, all rows finite."""

    def direction(self, signals: Signals) -> Tensor:
        """The weighted sum of the task gradients, `[n]`."""
        return signals.gradients.combine(self._weights(signals))

    def _blocks(self, signals: Signals) -> list[Tensor]:
        return signals.gradients.combine_blocks(self._weights(signals))

    def _weights(self, signals: Signals) -> Tensor:
        if self.num_tasks == 1:
            weights = torch.ones(1, device=signals.finite_rows().device)
        else:
            weights = self.task_weights(signals)
        assert self._keep is not None
        weights = weights * self._keep
        self.metrics["weights"] = weights
        return weights
