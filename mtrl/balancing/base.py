"""The contract between a balancing method and whoever has task losses.

Letters: `m` tasks, `n` shared (trunk) parameters. A gradient row belongs to a task.
"""

from __future__ import annotations

import abc
import enum
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from mtrl.balancing.adjusted import AdjustedRows
from mtrl.balancing.capture import may_read
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
        metrics: facts about the last call, for the log; where `signals.record`, also what is
            measured only then.
        adjusted: the rows that the last call combined, where `signals.record` and the method changes
            the directions of rows; otherwise None, and they are the task gradients.
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
        self.adjusted: AdjustedRows | None = None
        self._keep: Tensor | None = None  # rows admitted in the current call

    def aggregate(self, signals: Signals) -> Tensor:
        """The direction to descend, `[n]`, in the method's native scale (uniform is the sum)."""
        return torch.cat([block.flatten() for block in self.aggregate_blocks(signals)])

    @torch.no_grad()
    def aggregate_blocks(self, signals: Signals) -> list[Tensor]:
        """The same direction as one tensor per parameter, which spares the concatenation."""
        signals = self._admit(signals)
        if self.num_tasks == 1:
            weights = self.metrics["weights"] = torch.ones(1, device=signals.gramian.device)
            return signals.gradients.combine_blocks(weights)
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
        self.metrics, self.adjusted = {}, None
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
