"""Balancer: trainers give it the tasks' losses, and it fills `.grad`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from mtrl.balancing.adjusted import AdjustedRows
from mtrl.balancing.base import GRADIENTS, Aggregator, Needs, Weighting
from mtrl.balancing.capture import host_call
from mtrl.balancing.clipping import Clip, clip_
from mtrl.balancing.diagnostics import step_diagnostics
from mtrl.balancing.gradients import (
    LossFunction,
    Mode,
    TaskGradients,
    full_precision,
    task_gradients,
    task_views,
)
from mtrl.balancing.gramian import conflict_metrics
from mtrl.balancing.signals import Performance, Signals, is_finite

T = TypeVar("T")
Metrics = dict[str, Tensor]
"""Detached tensors on the device; they cross to the host once per log interval."""
MethodMetrics = dict[str, Tensor | float]
Clock = Callable[[str], contextlib.AbstractContextManager[object]]
"""`with clock("balancing"):` counts the time of the block."""


@dataclass(frozen=True)
class Step:
    """What one backward pass found. All tensors are detached.

    Attributes:
        losses: `[m]`.
        finite: scalar; whether all losses are finite.
        masked: scalar; whether a task was left out because its loss or its gradient is not finite.
        aux: what the loss function returned beside the losses.
        weights: `[m]`; None where the method has no task weights.
        gramian: `[m, m]` of the task gradients; None where none were formed.
        metrics: for the log: scalars, `[m]`, and larger ones that a log leaves out.
    """

    losses: Tensor
    finite: Tensor
    masked: Tensor
    aux: dict[str, Tensor]
    weights: Tensor | None
    gramian: Tensor | None
    metrics: Metrics


class Balancer:
    """Fills the gradients of a trunk and its heads by one balancing method.

    There are two paths. The method's needs choose one, and its name never does. Where it needs no
    gradients, the weighted losses are differentiated once (*loss path*). Otherwise one backward pass
    forms the gradient of every task, and the method combines them (*gradient path*). Heads take their
    own task's gradient on both paths, scaled as `head_scaling` says.

    Args:
        method: the balancing method; its state belongs to this balancer alone.
        shared: the trunk's parameters by name.
        heads: parameters of which each slice belongs to one task.
        max_norm: bound on the gradient norm, applied once, after aggregation; None leaves it.
        clip: `separate` bounds trunk and heads each by `max_norm`, `joint` both together.
        head_scaling: what each head's gradient is multiplied by: 1 (`unit`), its task's weight
            (`weights`), or its task's weight where the method weighs losses (`auto`,
            `Aggregator.weighs_losses`).
        head_task_dim: dimension of the head parameters that counts tasks.
        head_tasks: instead, the task that each head parameter belongs to as a whole.
        mode: see :func:`mtrl.balancing.gradients.task_gradients`.
        clock: counts the host's time in the method, the Gramian and the combination included, as
            `balancing`. On a GPU that is the time of the launches.
    """

    def __init__(
        self,
        method: Aggregator,
        shared: Mapping[str, nn.Parameter],
        heads: Mapping[str, nn.Parameter],
        *,
        max_norm: float | None = None,
        clip: Clip = "separate",
        head_scaling: Literal["auto", "unit", "weights"] = "auto",
        head_task_dim: int = 0,
        head_tasks: Sequence[int] | None = None,
        mode: Mode = "views",
        clock: Clock = contextlib.nullcontext,
    ) -> None:
        self.method = method
        self.shared = dict(shared)
        self.heads = dict(heads)
        self.max_norm = max_norm
        self.clip: Clip = clip
        self.scales_heads = head_scaling == "weights" or (
            head_scaling == "auto" and method.weighs_losses
        )
        self.head_task_dim = head_task_dim
        self.head_tasks = head_tasks
        self.mode: Mode = mode
        self.clock = clock
        self._last_loss_fn: LossFunction | None = None
        if head_scaling == "weights" and not isinstance(method, Weighting):
            raise ValueError(
                f"`head_scaling: weights` needs a method with task weights. {type(method).__name__}"
                " works on coordinates. Use `head_scaling: auto`."
            )

    def backward(
        self,
        loss_fn: LossFunction,
        performance: Tensor | Performance | None = None,
        *,
        diagnose: bool = False,
    ) -> Step:
        """Differentiate `loss_fn` and set `.grad` of trunk and heads.

        Args:
            loss_fn: `loss_fn(shared) -> (losses [m], aux)`; see `mtrl.balancing.gradients`.
            performance: `[m]`, for methods that read it.
            diagnose: also measure the angles between task gradients, the rows that the method makes of
                them, and the update. On the loss path this forms the task gradients once more, beside
                the step, which it does not change.

        Returns:
            What the pass found. Its metrics are `losses`, `grad_norm`, `clipped` and the method's own;
            on the gradient path also measures of conflict; where `diagnose`, all of
            `mtrl.balancing.diagnostics.step_diagnostics`.
        """
        if Needs.LOSSES_AFTER in self.method.needs:
            self._last_loss_fn = loss_fn
        known = None if performance is None else Performance.of(performance)
        if self.method.needs & GRADIENTS:
            return self._gradient_path(loss_fn, known, diagnose)
        return self._loss_path(loss_fn, known, diagnose)

    def after_step(self) -> None:
        """Show the method the losses after the optimiser's step, on the same batch and targets.

        Call it once after every optimiser step that followed a `backward`. It evaluates the last
        loss function again without a graph if the method declares `LOSSES_AFTER`, and does nothing
        otherwise.
        """
        if self._last_loss_fn is None:
            return
        loss_fn, self._last_loss_fn = self._last_loss_fn, None  # frees the batch that it holds
        with torch.no_grad():
            views = self.method.needs & GRADIENTS and self.mode == "views"
            losses, _ = loss_fn(
                task_views(self.shared, self.method.num_tasks) if views else self.shared
            )
        self._on_host_or_device(lambda: self.method.observe_after(losses))

    def state_dict(self) -> dict[str, Tensor]:
        """The method's state."""
        return self.method.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore the method's state; strict."""
        self.method.load_state_dict(state)

    def _loss_path(
        self, loss_fn: LossFunction, performance: Performance | None, diagnose: bool
    ) -> Step:
        losses, aux = loss_fn(self.shared)
        method = self.method
        assert isinstance(method, Weighting), "without gradients there is nothing but weights"
        signals = Signals(losses=losses, performance=performance, diagnose=diagnose)
        weights, method_metrics = self._call(signals, lambda: method.weights(signals))
        factors = weights.to(losses.dtype)
        heads, shared = list(self.heads.values()), list(self.shared.values())
        if self.scales_heads or method.uniform or not heads:
            grads = torch.autograd.grad(losses, [*heads, *shared], factors)
        else:
            # The heads' own gradients take another pass, from the losses down to the heads.
            grads = torch.autograd.grad(losses, heads, torch.ones_like(losses), retain_graph=True)
            grads += torch.autograd.grad(losses, shared, factors)
        for parameter, grad in zip([*heads, *shared], grads, strict=True):
            parameter.grad = grad.contiguous()
        gramian, measured = None, {}
        if diagnose:
            gradients = self._task_gradients(loss_fn)[2]
            gramian = gradients.gramian()
            measured = self._measure(gradients, gramian, weights, None)
        return self._step(signals, aux, weights, gramian, measured, method_metrics)

    def _gradient_path(
        self, loss_fn: LossFunction, performance: Performance | None, diagnose: bool
    ) -> Step:
        losses, aux, gradients, head_grads = self._task_gradients(loss_fn)
        signals = Signals(
            losses=losses, gradients=gradients, performance=performance, diagnose=diagnose
        )
        direction, method_metrics = self._call(signals, lambda: self.method.balance(signals))
        for parameter, part in zip(self.shared.values(), direction.blocks, strict=True):
            # The fused optimisers read a gradient in memory order, whatever its strides say.
            parameter.grad = part.to(parameter.dtype).contiguous()
        for i, (parameter, grad) in enumerate(zip(self.heads.values(), head_grads, strict=True)):
            if self.scales_heads:
                assert direction.weights is not None, "only weightings scale heads"
                grad = self._scaled(grad, i, direction.weights)
            parameter.grad = grad.contiguous()
        measured = conflict_metrics(signals.gramian)
        if diagnose:
            measured |= self._measure(
                gradients, signals.gramian, direction.weights, direction.adjusted
            )
        return self._step(
            signals, aux, direction.weights, signals.gramian, measured, method_metrics
        )

    def _step(
        self,
        signals: Signals,
        aux: Mapping[str, Tensor] | None,
        weights: Tensor | None,
        gramian: Tensor | None,
        measured: Metrics,
        method_metrics: MethodMetrics,
    ) -> Step:
        """Bound the gradients, and put together what the pass found."""
        trunk, heads = list(self.shared.values()), list(self.heads.values())
        metrics = measured | clip_(trunk, heads, self.max_norm, self.clip)
        metrics["losses"] = signals.losses
        for name, value in method_metrics.items():
            metrics[name] = value if isinstance(value, Tensor) else torch.tensor(value)
        return Step(
            losses=signals.losses,
            finite=signals.finite_losses.all(),
            masked=~signals.finite_rows().all(),
            aux={name: value.detach() for name, value in (aux or {}).items()},
            weights=weights,
            gramian=gramian,
            metrics=metrics,
        )

    def _call(self, signals: Signals, method: Callable[[], T]) -> tuple[T, MethodMetrics]:
        """The method's answer, and its facts for the log."""
        if not self.method.capturable:
            with self.clock("balancing"):
                signals.prepare()

        def answer() -> tuple[T, MethodMetrics]:
            with full_precision():
                return method(), dict(self.method.metrics)

        return self._on_host_or_device(answer)

    def _on_host_or_device(self, work: Callable[[], T]) -> T:
        """Do the method's work in the captured graph, or on the host at every replay."""

        def timed() -> T:
            with self.clock("balancing"):
                return work()

        return timed() if self.method.capturable else host_call(timed)

    def _task_gradients(
        self, loss_fn: LossFunction
    ) -> tuple[Tensor, Any, TaskGradients, list[Tensor]]:
        heads, m = list(self.heads.values()), self.method.num_tasks
        return task_gradients(loss_fn, self.shared, heads, m, mode=self.mode)

    @torch.no_grad()
    def _measure(
        self,
        gradients: TaskGradients,
        gramian: Tensor,
        weights: Tensor | None,
        adjusted: AdjustedRows | None,
    ) -> Metrics:
        update = torch.cat([p.grad.flatten() for p in self.shared.values() if p.grad is not None])
        # A row that is not finite is measured as if it were zero; it was masked in the step as well.
        finite = is_finite(gramian.diagonal())
        return step_diagnostics(
            torch.where(finite[:, None] & finite[None, :], gramian, 0.0),
            torch.nan_to_num(gradients.dot(update)),
            torch.nan_to_num(update.double().square().sum()),
            weights=weights,
            adjusted=adjusted,
        )

    def _scaled(self, grad: Tensor, head: int, weights: Tensor) -> Tensor:
        """The gradient of a head parameter, each task's slice times its weight."""
        scale = weights.to(grad.dtype)
        if self.head_tasks is not None:
            return grad * scale[self.head_tasks[head]]
        shape = [1] * grad.dim()
        shape[self.head_task_dim] = -1
        return grad * scale.view(shape)
