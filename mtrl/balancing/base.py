"""The contract between a balancing method and its caller.

Letters: `m` tasks, `n` shared (trunk) parameters. A gradient row belongs to a task.
"""

from __future__ import annotations

import abc
import enum
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from mtrl.balancing.capture import may_read
from mtrl.balancing.direction import Direction, Weights
from mtrl.balancing.signals import Signals


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
        weighs_losses: its weights are those of a loss that is minimised over all parameters, heads
            included; a method on gradients gives a direction for the shared parameters alone.
        capturable: no host work, so it can live in a CUDA graph; an option may change it.
        informed: how performance-informed weights omega enter (`mtrl.balancing.performance_informed`):
            `weights`, they multiply the method's weights, which are never negative; `own`, the
            method reads `signals.omega`; `refused`.
        refusal: why they are refused.
        example_options: for two tasks, where a method cannot be made without options.
        paper: where the method comes from.
        scale: of its direction.
        checked_against: what its answers were compared with.
        differs: from the paper or from released code, in short; the docstring says more.
        metrics: facts about the last call, for the log only; more of them where
            `signals.diagnose` is set.
    """

    needs: Needs
    positive_losses: bool = False
    weighs_losses: bool = False
    capturable: bool = True
    informed: ClassVar[Literal["weights", "own", "refused"]] = "refused"
    refusal: ClassVar[str] = "it does not declare that its weights are never negative (`informed`)"
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

    def aggregate(self, signals: Signals) -> Tensor:
        """The direction to descend, `[n]`, in the method's native scale (uniform is the sum)."""
        return self.balance(signals).flat()

    @torch.no_grad()
    def balance(self, signals: Signals) -> Direction:
        """The same direction as one tensor per parameter, with the weights and the changed rows."""
        signals, keep = self._admit(signals)
        if self.num_tasks == 1:
            weights = self.metrics["weights"] = torch.ones(1, device=signals.gramian.device)
            return Direction(signals.gradients.combine_blocks(weights), weights)
        return self._balance(signals, keep)

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
    def direction(self, signals: Signals) -> Tensor | Direction:
        """The method itself: `[n]`, or a :class:`Direction` that says more.

        There are at least two tasks, and all rows are finite.
        """

    def _balance(self, signals: Signals, keep: Tensor) -> Direction:
        return Direction.of(self.direction(signals), signals.gradients)

    def _admit(self, signals: Signals) -> tuple[Signals, Tensor]:
        """The signals without rows that are not finite, and which rows are kept, `[m]` booleans."""
        keep = signals.finite_rows()
        if len(keep) != self.num_tasks:
            raise ValueError(
                f"The method was built for {self.num_tasks} tasks. Found signals of {len(keep)}."
            )
        masked = (~keep).sum()
        self.metrics = {"masked_tasks": masked}
        # On the host a look is free; a device masks always, because a look would stall it.
        if may_read(keep) and int(masked) == 0:
            return signals, keep
        return signals.masked(keep), keep


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
        return self._weigh(*self._admit(signals)).values

    @abc.abstractmethod
    def task_weights(self, signals: Signals) -> Tensor | Weights:
        """The method itself: `[m]`, or :class:`Weights` with the rows that it changed.

        There are at least two tasks, and all rows are finite.
        """

    def direction(self, signals: Signals) -> Tensor:
        """The weighted sum of the task gradients, `[n]`."""
        return signals.gradients.combine(Weights.of(self.task_weights(signals)).values)

    def _balance(self, signals: Signals, keep: Tensor) -> Direction:
        weights = self._weigh(signals, keep)
        return Direction(signals.gradients.combine_blocks(weights.values), *weights)

    def _weigh(self, signals: Signals, keep: Tensor) -> Weights:
        if self.num_tasks == 1:
            answer = Weights(torch.ones(1, device=keep.device))
        else:
            answer = Weights.of(self.task_weights(signals))
        weights = self.metrics["weights"] = answer.values * keep
        return Weights(weights, answer.adjusted)
