"""Balancer: what lands in `.grad`, and what a method hears after the step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import pytest
import torch
from torch import Tensor, nn

from mtrl.balancing import METHODS, Balancer, TaskGradients, build


class TwoTasks:
    """Loss i is the squared distance of `trunk * head_i` to its target."""

    def __init__(self) -> None:
        self.trunk = nn.Parameter(torch.tensor([1.0, 2.0, -1.0]))
        self.heads = nn.Parameter(torch.tensor([[0.5], [2.0]]))
        self.targets = torch.tensor([[3.0, 1.0, 0.0], [-1.0, 4.0, 2.0]])
        self.calls = 0
        self.graph: list[bool] = []

    def __call__(self, shared: Mapping[str, Tensor]) -> tuple[Tensor, None]:
        self.calls += 1
        losses = (shared["trunk"] * self.heads - self.targets).square().mean(1)
        self.graph.append(losses.requires_grad)
        return losses, None

    def balancer(
        self, name: str, *, method_options: dict[str, object] | None = None, **options: object
    ) -> Balancer:
        pairs = {"weights": [0.5, 1.5]} if name == "fixed" else {}
        method = build(name, 2, 3, **pairs, **(method_options or {}))
        return Balancer(method, {"trunk": self.trunk}, {"heads": self.heads}, **options)  # type: ignore[arg-type]

    def rows(self) -> Tensor:
        losses = (self.trunk * self.heads - self.targets).square().mean(1)
        grads = [torch.autograd.grad(loss, self.trunk, retain_graph=True)[0] for loss in losses]
        return torch.stack(grads)

    def head_gradient(self) -> Tensor:
        losses = (self.trunk * self.heads - self.targets).square().mean(1)
        return torch.autograd.grad(losses.sum(), self.heads)[0]


LOSS_WEIGHTINGS = (
    *("ls", "fixed", "si", "rlw", "dwa", "uw", "gradnorm", "imtl_l", "famo", "go4align"),
)


@pytest.mark.parametrize("pi", [False, True], ids=["plain", "informed"])
@pytest.mark.parametrize("name", list(METHODS))
def test_trunk_takes_the_direction_and_heads_as_the_method_says(name: str, pi: bool) -> None:
    if pi and METHODS[name].informed == "refused":
        return
    problem = TwoTasks()
    balancer = problem.balancer(name, method_options={"pi": {}} if pi else {})
    for _ in range(3):  # weights that are learned have left their start
        step = balancer.backward(problem, torch.tensor([0.2, 0.8]))
        balancer.after_step()
    assert problem.trunk.grad is not None and problem.heads.grad is not None
    assert METHODS[name].weighs_losses == (name in LOSS_WEIGHTINGS)
    scale = 1.0
    if name in LOSS_WEIGHTINGS:
        assert step.weights is not None
        scale = step.weights.float()[:, None]
    torch.testing.assert_close(problem.heads.grad, scale * problem.head_gradient())
    if step.weights is not None and name not in ("sam_gs", "moco"):
        expected = step.weights.float() @ problem.rows()
        torch.testing.assert_close(problem.trunk.grad, expected)
    assert step.finite and not step.masked
    assert all(isinstance(value, Tensor) for value in step.metrics.values())
    torch.testing.assert_close(step.metrics["grad_norm"], problem.trunk.grad.norm())


@pytest.mark.parametrize("name", ["fixed", "gradnorm", "nash_mtl"])
@pytest.mark.parametrize("scaling", ["unit", "weights"])
def test_head_scaling_can_be_chosen_for_any_weighting(name: str, scaling: str) -> None:
    problem = TwoTasks()
    step = problem.balancer(name, head_scaling=scaling).backward(problem)
    assert step.weights is not None
    scale = step.weights.float()[:, None] if scaling == "weights" else 1.0
    assert problem.heads.grad is not None
    torch.testing.assert_close(problem.heads.grad, scale * problem.head_gradient())


def test_heads_scaled_by_weights_need_weights() -> None:
    with pytest.raises(ValueError, match="works on coordinates"):
        TwoTasks().balancer("rgb", head_scaling="weights")


@pytest.mark.parametrize(("scaling", "passes"), [("auto", 1), ("weights", 1), ("unit", 2)])
def test_a_weighted_loss_is_differentiated_once(
    scaling: str, passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem, counted = TwoTasks(), []
    grad = torch.autograd.grad

    def counting(*args: object, **options: object) -> object:
        counted.append(None)
        return grad(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.autograd, "grad", counting)
    problem.balancer("fixed", head_scaling=scaling).backward(problem)
    assert len(counted) == passes


@pytest.mark.parametrize("name", ["uw", "gradnorm"])
def test_the_head_of_a_single_task_takes_its_gradient(name: str) -> None:
    trunk, head = nn.Parameter(torch.tensor([1.0, 2.0])), nn.Parameter(torch.tensor([[0.5]]))
    balancer = Balancer(build(name, 1, 2), {"trunk": trunk}, {"head": head})
    balancer.backward(lambda shared: ((shared["trunk"] * head).square().sum(1), None))
    assert head.grad is not None
    assert float(head.grad) == pytest.approx(5.0)


def test_clip_bounds_trunk_and_heads_separately() -> None:
    problem = TwoTasks()
    metrics = problem.balancer("pcgrad", max_norm=0.1).backward(problem).metrics
    for parameter in (problem.trunk, problem.heads):
        assert parameter.grad is not None
        assert float(parameter.grad.norm()) == pytest.approx(0.1, rel=1e-4)
    assert metrics["clipped"] == 1.0


@pytest.mark.parametrize("clip", ["separate", "joint"])
def test_clip_leaves_gradients_within_the_bound_as_they_are(clip: str) -> None:
    free, bounded = TwoTasks(), TwoTasks()
    free.balancer("pcgrad").backward(free)
    assert free.trunk.grad is not None and free.heads.grad is not None
    bound = 1.1 * float(torch.cat([free.trunk.grad, free.heads.grad.flatten()]).norm())
    balancer = bounded.balancer("pcgrad", max_norm=bound, clip=clip)
    metrics = balancer.backward(bounded).metrics
    assert bounded.trunk.grad is not None and bounded.heads.grad is not None
    assert torch.equal(bounded.trunk.grad, free.trunk.grad)
    assert torch.equal(bounded.heads.grad, free.heads.grad)
    assert metrics["clipped"] == 0.0


def test_joint_clip_bounds_the_norm_of_trunk_and_heads_together() -> None:
    free, bounded = TwoTasks(), TwoTasks()
    free.balancer("pcgrad").backward(free)
    balancer = bounded.balancer("pcgrad", max_norm=0.1, clip="joint")
    metrics = balancer.backward(bounded).metrics
    norms = []
    for problem in (free, bounded):
        assert problem.trunk.grad is not None and problem.heads.grad is not None
        norms.append(torch.cat([problem.trunk.grad, problem.heads.grad.flatten()]).norm())
    assert float(norms[1]) == pytest.approx(0.1, rel=1e-4)
    for name in ("trunk", "heads"):  # both by the same factor
        expected = getattr(free, name).grad * (0.1 / norms[0])
        torch.testing.assert_close(getattr(bounded, name).grad, expected, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(metrics["grad_norm"], norms[0])
    assert metrics["clipped"] == 1.0


def test_famo_hears_the_losses_after_the_step_without_a_graph() -> None:
    problem = TwoTasks()
    balancer = problem.balancer("famo")
    optimizer = torch.optim.SGD([problem.trunk, problem.heads], lr=0.1)
    balancer.backward(problem)
    before = balancer.method.log_before.clone()
    logits = balancer.method.logits.clone()
    optimizer.step()
    balancer.after_step()
    assert problem.calls == 2
    assert problem.graph == [True, False]
    with torch.no_grad():
        losses, _ = problem({"trunk": problem.trunk})
    improvement = before - (losses.double() + 1e-8).log()
    moved = balancer.method.logits - logits
    # Adam's first step moves every logit by the learning rate, down for the task that improved
    # most.
    assert float(moved[improvement.argmax()]) == pytest.approx(-0.025, rel=1e-3)
    assert float(moved[improvement.argmin()]) == pytest.approx(0.025, rel=1e-3)
    balancer.after_step()  # a second call has no batch left and does nothing
    assert problem.calls == 3


@pytest.mark.parametrize("name", [n for n in METHODS if n != "famo"])
def test_after_step_is_free_for_methods_that_do_not_ask(name: str) -> None:
    problem = TwoTasks()
    balancer = problem.balancer(name)
    balancer.backward(problem, torch.tensor([0.2, 0.8]))
    calls = problem.calls
    balancer.after_step()
    assert problem.calls == calls


def test_a_step_has_the_gramian_where_one_was_formed() -> None:
    problem = TwoTasks()
    rows = problem.rows().double()
    plain = problem.balancer("ls")
    assert plain.backward(problem).gramian is None
    steps = [
        problem.balancer("mgda").backward(problem),
        plain.backward(problem, diagnose=True),
    ]
    for step in steps:
        assert step.gramian is not None
        torch.testing.assert_close(step.gramian, rows @ rows.T, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["ls", "mgda"])
def test_what_the_loss_function_returns_beside_the_losses_is_no_metric(name: str) -> None:
    problem = TwoTasks()

    def losses(shared: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        values, _ = problem(shared)
        return values, {"seen": 2.0 * values}

    step = problem.balancer(name).backward(losses)
    assert torch.equal(step.aux["seen"], 2.0 * step.losses)
    assert not step.aux["seen"].requires_grad
    assert "seen" not in step.metrics


@pytest.mark.parametrize("name", ["ls", "pcgrad", "nash_mtl"])
def test_a_task_that_is_left_out_is_told(name: str) -> None:
    problem = TwoTasks()
    problem.targets[0, 0] = torch.nan
    step = problem.balancer(name).backward(problem)
    assert step.masked and not step.finite


def test_state_goes_through_the_balancer() -> None:
    problem, twin = TwoTasks(), TwoTasks()
    first, second = problem.balancer("rgb"), twin.balancer("rgb")
    first.backward(problem)
    second.load_state_dict(first.state_dict())
    first.backward(problem)
    second.backward(twin)
    assert problem.trunk.grad is not None and twin.trunk.grad is not None
    assert torch.equal(problem.trunk.grad, twin.trunk.grad)


@pytest.mark.parametrize("name", ["pcgrad", "nash_mtl"])
def test_the_method_s_seconds_contain_the_gramian(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_parts: list[str] = []
    seen: list[list[str]] = []
    gramian = TaskGradients.gramian

    @contextlib.contextmanager
    def clock(part: str) -> Iterator[None]:
        open_parts.append(part)
        yield
        open_parts.pop()

    def noted(self: TaskGradients) -> Tensor:
        seen.append(list(open_parts))
        return gramian(self)

    problem = TwoTasks()
    balancer = problem.balancer(name, clock=clock)
    monkeypatch.setattr(TaskGradients, "gramian", noted)
    balancer.backward(problem)
    assert seen == [["balancing"]]
    assert open_parts == []
