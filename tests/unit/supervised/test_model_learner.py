"""The learner: task gradients on one shared input, noise, feedback, single tasks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from mtrl.balancing import task_gradients
from mtrl.supervised.config import BalanceConfig
from mtrl.supervised.model_learner import ModelLearner
from mtrl.supervised.problem import Recipe, TrunkAndHeads
from mtrl.supervised.problems.digits import Digits
from mtrl.supervised.single_task import SingleTask
from mtrl.supervised.task_metrics import Statistics

PROBLEM = Digits(pairs=64)
BATCH = PROBLEM.data("train", 0)[torch.arange(32)]
CPU = torch.device("cpu")
UNKNOWN = [math.nan, math.nan]


def make(method: str = "ls", problem=PROBLEM, mode: str = "batched", **options) -> ModelLearner:
    config = BalanceConfig(gradients=mode)  # type: ignore[arg-type]
    return ModelLearner(problem, problem.recipe, method, options, config=config, seed=0, device=CPU)


def step(
    learner: ModelLearner, update: int = 0, behind=UNKNOWN, batch=BATCH
) -> dict[str, torch.Tensor]:
    statistics = Statistics(learner.problem.tasks)
    return learner.step(batch, update, statistics, behind, diagnose=False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_batched_gradients_equal_a_loop_and_separate_passes(dtype: torch.dtype) -> None:
    model = PROBLEM.model().to(dtype)
    inputs = BATCH.inputs.to(dtype)
    targets = [t.to(dtype) if t.is_floating_point() else t for t in BATCH.targets]

    def losses(shared):
        rows = zip(PROBLEM.tasks, model(inputs), targets, strict=True)
        return torch.stack([task.loss(p, t) for task, p, t in rows]), None

    shared = model.shared_parameters()
    heads = [p for i in range(2) for p in model.head_parameters(i).values()]
    separate = []
    for i in range(2):
        grads = torch.autograd.grad(losses(shared)[0][i], list(shared.values()))
        separate.append(torch.cat([g.flatten() for g in grads]))
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    for mode in ("batched", "loop"):
        _, _, gradients, head_grads = task_gradients(losses, shared, heads, 2, mode=mode)  # type: ignore[arg-type]
        matrix = gradients.matrix()
        scale = float(matrix.abs().max())
        assert torch.allclose(matrix, torch.stack(separate), atol=tolerance * scale, rtol=0)
        plain = torch.autograd.grad(losses(shared)[0].sum(), heads)
        for own, expected in zip(head_grads, plain, strict=True):
            assert torch.allclose(own, expected, atol=tolerance, rtol=tolerance)


def test_a_model_without_batched_gradients_falls_back_with_a_warning() -> None:
    class Doubled(torch.autograd.Function):  # has no batching rule
        @staticmethod
        def forward(ctx, x):
            return 2 * x

        @staticmethod
        def backward(ctx, grad):
            return torch.from_numpy(2 * grad.numpy())

    weight = nn.Parameter(torch.tensor([1.0, -2.0]))

    def losses(shared):
        return Doubled.apply(shared["w"]) * torch.tensor([1.0, 3.0]), None

    with pytest.warns(UserWarning, match="loop of backward passes"):
        _, _, gradients, _ = task_gradients(losses, {"w": weight}, [], 2, mode="batched")
    assert torch.equal(gradients.matrix(), torch.tensor([[2.0, 0.0], [0.0, 6.0]]))


def test_a_parameter_that_only_one_task_uses_has_zero_rows_elsewhere() -> None:
    a, b = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))

    def losses(shared):
        return torch.stack([shared["a"].sum(), shared["b"].sum()]), None

    for mode in ("batched", "loop"):
        _, _, gradients, _ = task_gradients(losses, {"a": a, "b": b}, [], 2, mode=mode)  # type: ignore[arg-type]
        expected = torch.tensor([[1.0, 1, 0, 0, 0], [0, 0, 1, 1, 1]])
        assert torch.equal(gradients.matrix(), expected)


def test_both_modes_train_alike() -> None:
    first, second = make("nash_mtl"), make("nash_mtl", mode="loop")
    for update in range(3):
        step(first, update)
        step(second, update)
    for own, other in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.allclose(own, other, atol=1e-5)


def test_statistics_hold_the_predictions_before_the_step() -> None:
    learner = make()
    with torch.no_grad():
        expected = (learner.model(BATCH.inputs)[0].argmax(-1) == BATCH.targets[0]).double().mean()
    statistics = Statistics(PROBLEM.tasks)
    learner.step(BATCH, 0, statistics, UNKNOWN, diagnose=False)
    assert statistics.scores().metrics[0]["accuracy"] == pytest.approx(float(expected))


def test_performance_reaches_the_method_in_percent() -> None:
    learner = make("pivrg")
    omega = step(learner, behind=[0.0, 5.0]).metrics["omega"]
    # omega = m softmax(drop / 10): five points of ten make a ratio of exp(1/2).
    assert float(omega[1] / omega[0]) == pytest.approx(math.exp(0.5), rel=1e-9)
    assert step(learner, 1, UNKNOWN).metrics["omega"].tolist() == [1.0, 1.0]


class Noisy(Digits):
    """Digits with dropout."""

    recipe = Recipe(epochs=1, batch_size=32, learning_rate=1e-3)

    def model(self, copy: int = 0):
        own = super().model(copy)
        assert isinstance(own, TrunkAndHeads)
        return TrunkAndHeads(nn.Sequential(own.trunk, nn.Dropout(0.5)), list(own.heads))


def test_noise_depends_on_the_update_and_not_on_torch_s_generator() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = step(make(problem=Noisy()), 3).losses
    assert torch.equal(torch.get_rng_state(), before), "the caller's generator is left alone"
    torch.manual_seed(2)
    assert torch.equal(step(make(problem=Noisy()), 3).losses, one)
    assert not torch.equal(step(make(problem=Noisy()), 4).losses, one)


def test_famo_sees_the_same_noise_again() -> None:
    seen: list[torch.Tensor] = []
    learner = make("famo", Noisy())
    learner.recipe = Recipe(1, 32, 1e-3)
    for group in learner.optimizer.param_groups:
        group["lr"] = 0.0  # the step moves nothing: any difference is noise
    observe = learner.balancer.method.observe_after
    learner.balancer.method.observe_after = lambda losses: (seen.append(losses), observe(losses))  # type: ignore[method-assign]
    losses = step(learner).losses
    assert torch.equal(seen[0], losses)


def test_a_single_task_trains_trunk_and_own_head_only() -> None:
    learner = make(problem=SingleTask(PROBLEM, "RR"))
    before = {k: v.clone() for k, v in learner.model.state_dict().items()}
    batch = learner.problem.data("train", 0)[torch.arange(32)]
    step(learner, behind=[math.nan], batch=batch)
    changed = {k for k, v in learner.model.state_dict().items() if not torch.equal(v, before[k])}
    assert all(".heads.0." not in name for name in changed)
    assert any(".heads.1." in name for name in changed)
    assert any(".trunk." in name for name in changed)


@pytest.mark.parametrize("method", ["rlw", "nash_mtl"])
def test_heads_can_be_scaled_like_their_tasks(method: str) -> None:
    grads = {}
    for scaling in ("unit", "weights", "auto"):
        config = BalanceConfig(head_scaling=scaling)  # type: ignore[arg-type]
        learner = ModelLearner(
            PROBLEM, PROBLEM.recipe, method, {}, config=config, seed=0, device=CPU
        )
        weights = step(learner).weights
        grads[scaling] = [
            next(iter(learner.model.head_parameters(i).values())).grad for i in range(2)
        ]
    for i in range(2):
        assert torch.allclose(grads["weights"][i], grads["unit"][i] * weights[i], rtol=1e-5)
        assert torch.equal(grads["auto"][i], grads["weights" if method == "rlw" else "unit"][i])


def test_a_loss_that_is_not_finite_changes_nothing() -> None:
    learner = make()
    before = {k: v.clone() for k, v in learner.model.state_dict().items()}
    bad = BATCH._replace(inputs=BATCH.inputs * math.nan)
    assert not bool(step(learner, batch=bad).finite)
    assert all(torch.equal(v, before[k]) for k, v in learner.model.state_dict().items())


def test_learning_rates_follow_the_recipe() -> None:
    learner = make()
    rate = learner.recipe.learning_rate
    for recipe, epoch, factor in (
        (Recipe(200, 8, rate, halve_every=100), 99, 1.0),
        (Recipe(200, 8, rate, halve_every=100), 100, 0.5),
        (Recipe(10, 8, rate, cosine=True), 0, 1.0),
        (Recipe(10, 8, rate, cosine=True), 5, 0.5),
    ):
        learner.recipe = recipe
        learner.begin_epoch(epoch)
        assert learner.optimizer.param_groups[0]["lr"] == pytest.approx(rate * factor)


class Normed(Digits):
    """Digits with batch normalisation."""

    def model(self, copy: int = 0):
        own = super().model(copy)
        assert isinstance(own, TrunkAndHeads)
        return TrunkAndHeads(nn.Sequential(own.trunk, nn.BatchNorm1d(32)), list(own.heads))


@pytest.mark.parametrize(
    ("method", "diagnose"), [("ls", False), ("ls", True), ("famo", True), ("pcgrad", True)]
)
def test_a_batch_is_counted_once_in_running_statistics(method: str, diagnose: bool) -> None:
    learner, plain = make(method, Normed()), make("ls", Normed())
    statistics = Statistics(PROBLEM.tasks)
    learner.step(BATCH, 0, statistics, UNKNOWN, diagnose=diagnose)
    step(plain)
    for own, expected in zip(learner.model.buffers(), plain.model.buffers(), strict=True):
        assert torch.equal(own, expected)
    bad = BATCH._replace(inputs=BATCH.inputs * math.nan)
    learner.step(bad, 1, statistics, UNKNOWN, diagnose=diagnose)
    for own, expected in zip(learner.model.buffers(), plain.model.buffers(), strict=True):
        assert torch.equal(own, expected), "a batch that is not finite leaves no trace"


class SameNames(Digits):
    """Heads that call their parameters alike."""

    def model(self, copy: int = 0):
        own = super().model(copy)
        own.head_parameters = lambda task: dict(own.heads[task].named_parameters())  # type: ignore
        return own


def test_heads_may_call_their_parameters_alike() -> None:
    learner = make(problem=SameNames())
    before = [p.detach().clone() for p in learner.model.parameters()]
    step(learner)
    for old, new in zip(before, learner.model.parameters(), strict=True):
        assert not torch.equal(old, new)
