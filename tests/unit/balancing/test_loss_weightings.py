"""Loss weightings against hand-worked numbers and torch's own optimiser."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from mtrl.balancing import Signals, Weighting, build
from mtrl.balancing.methods._adam import Adam
from mtrl.balancing.methods.go4align import group_means


def weighting(name: str, m: int = 2, **options: object) -> Weighting:
    method = build(name, m, 4, **options)
    assert isinstance(method, Weighting)
    return method


def losses(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_adam_is_torchs(weight_decay: float) -> None:
    torch.manual_seed(0)
    ours, theirs = torch.zeros(3).double(), torch.zeros(3).double().requires_grad_()
    adam = Adam(3, 0.1, weight_decay=weight_decay)
    reference = torch.optim.Adam([theirs], 0.1, weight_decay=weight_decay)
    for _ in range(20):
        gradient = torch.randn(3).double()
        adam.descend(ours, gradient)
        theirs.grad = gradient
        reference.step()
        torch.testing.assert_close(ours, theirs.detach(), rtol=1e-12, atol=1e-12)


def test_si_inverts_losses_and_survives_zero() -> None:
    method = weighting("si")
    assert method.weights(Signals(losses=losses(0.5, 4.0))).tolist() == [2.0, 0.25]
    assert torch.isfinite(method.weights(Signals(losses=losses(0.0, 1.0)))).all()


def test_dwa_is_uniform_for_two_windows_and_then_favours_slow_tasks() -> None:
    method = weighting("dwa", window=2, temperature=2.0)
    history = [(4.0, 4.0), (4.0, 4.0), (2.0, 4.0), (2.0, 4.0)]
    for values in history:
        assert method.weights(Signals(losses=losses(*values))).tolist() == [1.0, 1.0]
    expected = 2.0 * torch.softmax(losses(0.5, 1.0) / 2.0, 0)
    for _ in range(2):  # the ratio stands until the next window is full
        torch.testing.assert_close(method.weights(Signals(losses=losses(9.0, 9.0))), expected)
    after = 2.0 * torch.softmax(losses(9.0 / 2.0, 9.0 / 4.0) / 2.0, 0)
    torch.testing.assert_close(method.weights(Signals(losses=losses(1.0, 1.0))), after)


def test_dwa_does_not_see_the_scale_of_a_loss() -> None:
    first, second = weighting("dwa", window=2), weighting("dwa", window=2)
    generator = torch.Generator().manual_seed(0)
    for _ in range(9):
        values = torch.rand(2, generator=generator, dtype=torch.float64) + 0.1
        scaled = values * losses(1.0, 1000.0)
        torch.testing.assert_close(
            first.weights(Signals(losses=values)), second.weights(Signals(losses=scaled))
        )


def test_uw_descends_its_own_objective() -> None:
    method = weighting("uw", learning_rate=0.05)
    values = losses(0.3, 5.0)
    s = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    reference = torch.optim.Adam([s], 0.05)
    for _ in range(400):
        weights = method.weights(Signals(losses=values))
        torch.testing.assert_close(weights, 0.5 * torch.exp(-s.detach()), rtol=1e-9, atol=0)
        reference.zero_grad()
        (0.5 * (torch.exp(-s) * values + s)).sum().backward()
        reference.step()
    torch.testing.assert_close(weights * values, losses(0.5, 0.5), rtol=0.02, atol=0)


def test_uw_stays_bounded_on_a_negative_loss() -> None:
    method = weighting("uw", learning_rate=1.0, limit=3.0)
    for _ in range(50):
        weights = method.weights(Signals(losses=losses(-1.0, 1.0)))
    assert float(weights[0]) == pytest.approx(0.5 * np.exp(3.0))


def test_imtl_l_brings_losses_to_one() -> None:
    method = weighting("imtl_l", learning_rate=0.05)
    for _ in range(400):
        weights = method.weights(Signals(losses=losses(0.3, 5.0)))
    torch.testing.assert_close(weights, losses(1 / 0.3, 0.2), rtol=0.02, atol=0)


def test_imtl_weighs_scaled_rows_to_one() -> None:
    method = weighting("imtl", learning_rate=0.05)
    rows = torch.tensor([[1.0, 0.0, 0, 0], [1.0, 3.0, 0, 0]], dtype=torch.float64)
    for _ in range(400):
        weights = method.weights(Signals(losses=losses(0.5, 2.0), jacobian=rows))
    assert float((weights * losses(0.5, 2.0)).sum()) == pytest.approx(1.0, rel=0.02)


def norms_signals(values: Tensor, first: float, second: float) -> Signals:
    return Signals(losses=values, gramian=torch.diag(losses(first**2, second**2)))


def test_gradnorm_keeps_still_where_all_is_equal() -> None:
    method = weighting("gradnorm")
    for _ in range(20):
        assert method.weights(norms_signals(losses(0.7, 0.7), 3.0, 3.0)).tolist() == [1.0, 1.0]


def test_gradnorm_without_restoring_force_makes_weighted_norms_equal() -> None:
    method = weighting("gradnorm", restoring_force=0.0, learning_rate=0.01)
    for _ in range(600):
        weights = method.weights(norms_signals(losses(1.0, 1.0), 1.0, 3.0))
    torch.testing.assert_close(weights, losses(1.5, 0.5), rtol=0, atol=0.05)


def test_gradnorm_pushes_the_task_that_trains_slowly() -> None:
    method = weighting("gradnorm", learning_rate=0.01)
    method.weights(norms_signals(losses(10.0, 0.1), 1.0, 1.0))
    for _ in range(50):  # relative to their own first losses, the second is behind
        weights = method.weights(norms_signals(losses(1.0, 0.1), 1.0, 1.0))
    assert weights[1] > 1.2 > weights[0]
    assert float(weights.sum()) == pytest.approx(2.0)


def test_famo_follows_the_papers_equations() -> None:
    method = weighting(
        "famo", m=3, learning_rate=0.025, weight_decay=0.01, min_losses=[0.0, 0.1, 0.2]
    )
    logits = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([logits], 0.025, weight_decay=0.01)
    minima = losses(0.0, 0.1, 0.2)
    torch.manual_seed(0)
    for _ in range(30):
        before, after = torch.rand(2, 3).double() + 0.5
        weights = method.weights(Signals(losses=before))
        share = logits.detach().softmax(0) / (before - minima + 1e-8)
        torch.testing.assert_close(weights, share / share.sum(), rtol=1e-10, atol=0)
        change = (before - minima + 1e-8).log() - (after - minima + 1e-8).log()
        optimizer.zero_grad()
        (logits.softmax(0) @ change).backward()
        optimizer.step()
        method.observe_after(after)


def test_famo_of_equal_losses_stays_uniform() -> None:
    method = weighting("famo", m=3, weight_decay=0.0)
    for value in (1.0, 0.7, 0.9, 0.1):
        weights = method.weights(Signals(losses=losses(*[value] * 3)))
        torch.testing.assert_close(weights, torch.full((3,), 1 / 3).double())
        method.observe_after(losses(*[value * 0.9] * 3))


def test_famo_weight_times_loss_ignores_scale() -> None:
    first, second = weighting("famo"), weighting("famo")
    scale = losses(1.0, 1000.0)
    for values, after in [((1.0, 2.0), (0.9, 1.9)), ((0.8, 1.5), (0.8, 1.0))]:
        one = first.weights(Signals(losses=losses(*values))) * losses(*values)
        two = second.weights(Signals(losses=losses(*values) * scale)) * losses(*values) * scale
        torch.testing.assert_close(one / one.sum(), two / two.sum(), rtol=1e-6, atol=0)
        first.observe_after(losses(*after))
        second.observe_after(losses(*after) * scale)


def test_go4align_of_equal_losses_is_uniform() -> None:
    method = weighting("go4align", m=4)
    for _ in range(5):
        weights = method.weights(Signals(losses=losses(2.0, 2.0, 2.0, 2.0)))
        torch.testing.assert_close(weights, torch.ones(4).double())


def test_go4align_risk_does_not_collapse() -> None:
    method = weighting("go4align", rate=1.0, floor=0.01)
    for _ in range(200):
        weights = method.weights(Signals(losses=losses(5.0, 0.1)))
    assert float(method.risk.min()) >= 0.0049
    assert torch.isfinite(weights).all()


def test_groups_are_the_best_partition() -> None:
    generator = np.random.default_rng(0)
    for m, groups in itertools.product((2, 5, 6), (1, 2, 3)):
        values = generator.exponential(size=m)
        centres = group_means(values, groups)
        best = min(
            sum(
                float(
                    (
                        (values[np.array(labels) == g] - values[np.array(labels) == g].mean()) ** 2
                    ).sum()
                )
                for g in set(labels)
            )
            for labels in itertools.product(range(min(groups, m)), repeat=m)
        )
        assert float(((values - centres) ** 2).sum()) == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("name", ["dwa", "uw", "imtl_l", "gradnorm", "go4align"])
def test_informed_history_is_of_the_losses_as_they_are(name: str) -> None:
    """A history of omega * losses would weigh a task less while its omega falls towards 1."""
    options = {"window": 1} if name == "dwa" else {}
    informed, plain = weighting(name, pi={}, **options), weighting(name, **options)
    rows = torch.tensor([[1.0, 0.2], [0.0, 1.0]])
    for lag in (0.9, 0.9, 0.05, 0.02, 0.0, 0.0):
        given = Signals(
            losses=losses(1.0, 1.0), jacobian=rows, performance=torch.tensor([1.0 - lag, 1.0])
        )
        weights, expected = informed.weights(given), plain.weights(given)
        omega = informed.metrics["omega"]
        assert isinstance(omega, Tensor)
        torch.testing.assert_close(weights, expected * omega)
    assert omega.tolist() == [1.0, 1.0]


def test_informed_ls_weighs_by_omega_on_losses_alone() -> None:
    method = weighting("ls", m=3, pi={})
    given = Signals(losses=losses(1.0, 1.0, 1.0), performance=torch.tensor([0.0, 0.5, 1.0]))
    weights = method.weights(given)
    assert weights[0] > weights[1] > weights[2]
    assert float(weights.sum()) == pytest.approx(3.0)
    assert float(weights[0] / weights[2]) == pytest.approx(2.0)
