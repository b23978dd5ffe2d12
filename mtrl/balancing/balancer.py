"""Balancer: the one object that trainers know. Task losses in, `.grad` out."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from mtrl.balancing.base import GRADIENTS, Aggregator, Needs, Weighting
from mtrl.balancing.capture import host_call
from mtrl.balancing.diagnostics import step_diagnostics
from mtrl.balancing.foreach import scale_
from mtrl.balancing.gradients import (
    LossFunction,
    Mode,
    TaskGradients,
    full_precision,
    task_gradients,
)
from mtrl.balancing.gramian import conflict_metrics
from mtrl.balancing.signals import Performance, Signals, is_finite

T = TypeVar("T")
Metrics = dict[str, Tensor]
"""Detached tensors on the device; they cross to the host once per log interval."""
MethodMetrics = dict[str, Tensor | float]


class Balancer:
    """Fills the gradients of a trunk and its heads by one balancing method.

    Two paths, chosen by what the method declares and never by its name. Where it needs no
    gradients, the weighted losses are differentiated once (*loss path*); otherwise the gradient of
    every task is formed in one backward pass and the method combines them (*gradient path*). Heads
    take their own task's gradient on both, scaled as `head_scaling` says.

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

    Attributes:
        gramian: `[m, m]` of the last step on the gradient path that was no replay, for whoever keeps it.
        seconds: spent in the method so far, Gramian and combination included, and what it measures
            where a step is recorded, as the host sees it: on a device that is the time to give the
            work out.
    """

    def __init__(
        self,
        method: Aggregator,
        shared: Mapping[str, nn.Parameter],
        heads: Mapping[str, nn.Parameter],
        *,
        max_norm: float | None = None,
        clip: Literal["separate", "joint"] = "separate",
        head_scaling: Literal["auto", "unit", "weights"] = "auto",
        head_task_dim: int = 0,
        head_tasks: Sequence[int] | None = None,
        mode: Mode = "views",
    ) -> None:
        self.method = method
        self.shared = dict(shared)
        self.heads = dict(heads)
        self.max_norm = max_norm
        self.clip = clip
        self.scales_heads = head_scaling == "weights" or (
            head_scaling == "auto" and method.weighs_losses
        )
        self.head_task_dim = head_task_dim
        self.head_tasks = head_tasks
        self.mode: Mode = mode
        self.gramian: Tensor | None = None
        self.seconds = 0.0
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
        record: bool = False,
    ) -> Metrics:
        """Differentiate `loss_fn` and set `.grad` of trunk and heads.

        Args:
            loss_fn: `loss_fn(shared) -> (losses [m], aux)`; see `mtrl.balancing.gradients`. The tensors
                in the dictionary `aux` come back among the metrics.
            performance: `[m]`, for methods that read it.
            record: also measure how gradients, the rows that the method makes of them and the update
                lie to each other, and keep the Gramian. On the loss path this forms the task gradients
                once more, beside the step, which it does not change.

        Returns:
            `losses [m]`, `finite` (whether all losses are), `grad_norm`, `clipped`, and the
            method's own metrics; on the gradient path also measures of conflict; where `record`, all
            of `mtrl.balancing.diagnostics.step_diagnostics` and what the method adds.
        """
        if Needs.LOSSES_AFTER in self.method.needs:
            self._last_loss_fn = loss_fn
        known = None if performance is None else Performance.of(performance)
        if self.method.needs & GRADIENTS:
            signals, method_metrics, metrics = self._gradient_path(loss_fn, known, record)
            gradients = signals.gradients
        else:
            signals, method_metrics, metrics = self._loss_path(loss_fn, known, record)
            gradients = self._task_gradients(loss_fn)[2] if record else None
        if record and gradients is not None:
            metrics |= self._measure(gradients, method_metrics.get("weights"))
        metrics |= self._clip()
        metrics["losses"] = signals.losses
        metrics["finite"] = signals.finite_losses.all()
        for name, value in method_metrics.items():
            metrics[name] = value if isinstance(value, Tensor) else torch.tensor(value)
        return metrics

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
            shared: dict[str, Tensor] = dict(self.shared)
            if self.method.needs & GRADIENTS and self.mode == "views":
                m = self.method.num_tasks
                shared = {name: p.expand(m, *p.shape) for name, p in shared.items()}
            losses, _ = loss_fn(shared)
        if self.method.capturable:
            self.method.observe_after(losses)
        else:
            host_call(lambda: self.method.observe_after(losses))

    def state_dict(self) -> dict[str, Tensor]:
        """The method's state."""
        return self.method.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore the method's state; strict."""
        self.method.load_state_dict(state)

    def _loss_path(
        self, loss_fn: LossFunction, performance: Performance | None, record: bool
    ) -> tuple[Signals, MethodMetrics, Metrics]:
        losses, aux = loss_fn(self.shared)
        method = self.method
        assert isinstance(method, Weighting), "without gradients there is nothing but weights"
        signals = Signals(losses=losses, performance=performance, record=record)
        weights, method_metrics = self._call(signals, lambda: method.weights(signals))
        weights = weights.to(losses.dtype)
        heads, shared = list(self.heads.values()), list(self.shared.values())
        if self.scales_heads or method.uniform or not heads:
            grads = torch.autograd.grad(losses, [*heads, *shared], weights)
        else:
            # The heads' own gradients take another pass, from the losses down to the heads.
            grads = torch.autograd.grad(losses, heads, torch.ones_like(losses), retain_graph=True)
            grads += torch.autograd.grad(losses, shared, weights)
        for parameter, grad in zip([*heads, *shared], grads, strict=True):
            parameter.grad = grad.contiguous()
        return signals, method_metrics, _detached(aux)

    def _gradient_path(
        self, loss_fn: LossFunction, performance: Performance | None, record: bool
    ) -> tuple[Signals, MethodMetrics, Metrics]:
        losses, aux, gradients, head_grads = self._task_gradients(loss_fn)
        signals = Signals(
            losses=losses, gradients=gradients, performance=performance, record=record
        )
        parts, method_metrics = self._call(signals, lambda: self.method.aggregate_blocks(signals))
        for parameter, part in zip(self.shared.values(), parts, strict=True):
            # The fused optimisers read a gradient in memory order, whatever its strides say.
            parameter.grad = part.to(parameter.dtype).contiguous()
        for i, (parameter, grad) in enumerate(zip(self.heads.values(), head_grads, strict=True)):
            if self.scales_heads:
                grad = self._scaled(grad, i, method_metrics["weights"])
            parameter.grad = grad.contiguous()
        self.gramian = signals.gramian
        return signals, method_metrics, _detached(aux) | conflict_metrics(signals.gramian)

    def _call(self, signals: Signals, method: Callable[[], T]) -> tuple[T, MethodMetrics]:
        """What the method answers, and its facts; on the host where it cannot be recorded."""

        def answer() -> tuple[T, MethodMetrics]:
            with full_precision():
                return method(), dict(self.method.metrics)

        start = time.perf_counter()
        if self.method.capturable:
            result = answer()
        else:
            signals.prepare()
            result = host_call(answer)
        self.seconds += time.perf_counter() - start
        return result

    def _task_gradients(
        self, loss_fn: LossFunction
    ) -> tuple[Tensor, Any, TaskGradients, list[Tensor]]:
        heads, m = list(self.heads.values()), self.method.num_tasks
        return task_gradients(loss_fn, self.shared, heads, m, mode=self.mode)

    @torch.no_grad()
    def _measure(self, gradients: TaskGradients, weights: Tensor | float | None) -> Metrics:
        if self.gramian is None or not self.method.needs & GRADIENTS:
            self.gramian = gradients.gramian()
        update = torch.cat([p.grad.flatten() for p in self.shared.values() if p.grad is not None])
        # A row that is not finite is measured as if it were zero; it was masked in the step as well.
        finite = is_finite(self.gramian.diagonal())
        return step_diagnostics(
            torch.where(finite[:, None] & finite[None, :], self.gramian, 0.0),
            torch.nan_to_num(gradients.dot(update)),
            torch.nan_to_num(update.double().square().sum()),
            weights=weights if isinstance(weights, Tensor) else None,
            adjusted=self.method.adjusted,
        )

    def _scaled(self, grad: Tensor, head: int, weights: Tensor | float) -> Tensor:
        """The gradient of a head parameter, each task's slice times its weight."""
        scale = torch.as_tensor(weights).to(grad.dtype)
        if self.head_tasks is not None:
            return grad * scale[self.head_tasks[head]]
        shape = [1] * grad.dim()
        shape[self.head_task_dim] = -1
        return grad * scale.view(shape)

    def _clip(self) -> Metrics:
        trunk, heads = list(self.shared.values()), list(self.heads.values())
        if self.clip == "joint":
            groups = [[*trunk, *heads]]
        else:
            groups = [group for group in (trunk, heads) if group]
        gradients = [[p.grad for p in group if p.grad is not None] for group in groups]
        norms = torch.stack([nn.utils.get_total_norm(group) for group in gradients])
        if self.max_norm is None:
            return {"grad_norm": norms[0], "clipped": torch.zeros_like(norms[0])}
        # `clip_grads_with_norm_` for all groups at once.
        factors = (self.max_norm / (norms + 1e-6)).clamp_max(1.0)
        for group, factor in zip(gradients, factors, strict=True):
            scale_(group, factor)
        return {"grad_norm": norms[0], "clipped": (norms[0] > self.max_norm).float()}


def _detached(aux: Mapping[str, Tensor] | None) -> Metrics:
    return {name: value.detach() for name, value in (aux or {}).items()}
