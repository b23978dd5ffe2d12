"""PIVRG, omega, SAM-GS, RGB, MoCo, CDTT and GradVac by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares
from torch import Tensor

from mtrl.balancing import Performance, Signals, Weighting, arm_name, build
from mtrl.balancing.methods._projections import vaccinate
from mtrl.balancing.methods._rng import CounterRandom
from mtrl.balancing.methods.moco import project_on_simplex
from mtrl.balancing.omega import performance_weights
from mtrl.balancing.rotations import angle_gradient, angle_objective
from mtrl.balancing.solvers import power_barrier


def rows(m: int = 4, n: int = 12, seed: int = 0) -> Tensor:
    return torch.randn(m, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# -- omega --------------------------------------------------------------------------------------


def omega(*success: float, **options: float) -> Tensor:
    values = torch.tensor(success, dtype=torch.float64)
    return performance_weights(Performance(values), **options)


def test_omega_sums_to_the_number_of_tasks_within_its_bounds() -> None:
    for seed in range(20):
        success = torch.rand(10, generator=torch.Generator().manual_seed(seed)).tolist()
        weights = omega(*success, bound=1.8)
        assert float(weights.sum()) == pytest.approx(10.0)
        assert 1 / 1.8 - 1e-12 <= float(weights.min()) <= float(weights.max()) <= 1.8 + 1e-12
        order = torch.tensor(success).argsort()
        assert (weights[order].diff() <= 0).all()  # better performance, smaller weight


def test_omega_ratio_is_pinned_once_the_range_is_wide() -> None:
    wide, narrow = omega(0.0, 0.5, 1.0), omega(0.50, 0.53)
    assert float(wide.max() / wide.min()) == pytest.approx(2.0)
    assert float(narrow.max() / narrow.min()) == pytest.approx(math.exp(3.0 / 10.0))


def test_omega_ignores_a_common_shift_and_is_one_for_equal_performance() -> None:
    torch.testing.assert_close(omega(0.1, 0.2, 0.4), omega(0.3, 0.4, 0.6))
    assert omega(0.3, 0.3, 0.3).tolist() == [1.0, 1.0, 1.0]


def test_omega_of_unknown_tasks_is_one() -> None:
    assert omega(math.nan, math.nan).tolist() == [1.0, 1.0]
    weights = omega(0.1, math.nan, 0.9)
    assert weights[1] == 1.0
    torch.testing.assert_close(weights[[0, 2]], omega(0.1, 0.9))


def test_metric_where_lower_is_better_turns_around() -> None:
    errors = Performance(
        torch.tensor([2.0, 1.0]), baseline=torch.tensor([1.0, 1.0]), higher_is_better=False
    )
    weights = performance_weights(errors)
    assert weights[0] > weights[1]


def test_percentages_are_not_taken_for_rates() -> None:
    with pytest.raises(ValueError, match="Divide percentages by 100"):
        Signals(jacobian=rows(2), performance=torch.tensor([40.0, 90.0]))


# -- PIVRG --------------------------------------------------------------------------------------


@pytest.mark.parametrize("m", [2, 10, 40])
@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_newton_agrees_with_least_squares(m: int, exponent: float) -> None:
    jacobian = rows(m, 100, seed=m).numpy()
    gramian = jacobian @ jacobian.T
    target = np.linspace(0.5, 1.5, m)
    ours = power_barrier(gramian, target, exponent)
    theirs = least_squares(
        lambda a: gramian @ a - target * a**-exponent,
        np.full(m, 1 / m),
        bounds=(0, np.inf),
        xtol=1e-15,
        ftol=1e-15,
        gtol=1e-15,
    )
    assert ours.status == "ok"
    assert ours.residual < 1e-8
    np.testing.assert_allclose(ours.weights, theirs.x, rtol=1e-5)


def test_pivrg_solves_its_equations_and_keeps_the_published_solver() -> None:
    jacobian = rows()
    given = Signals(jacobian=jacobian, performance=torch.tensor([0.1, 0.4, 0.6, 0.9]))
    method, published = build("pivrg", 4, 12), build("pivrg", 4, 12, solver="scipy")
    assert isinstance(method, Weighting) and isinstance(published, Weighting)
    weights = method.weights(given)
    target = (method.metrics["omega"] / weights).sqrt()  # type: ignore[operator]
    torch.testing.assert_close(given.gramian @ weights, target, rtol=1e-8, atol=0)
    torch.testing.assert_close(weights, published.weights(given), rtol=1e-4, atol=0)


def test_pivrg_with_omega_one_is_its_control() -> None:
    jacobian = rows()
    control, informed = build("pivrg", 4, 12, omega="one"), build("pivrg", 4, 12)
    assert isinstance(control, Weighting) and isinstance(informed, Weighting)
    weights = control.weights(Signals(jacobian=jacobian))  # it reads no performance
    equal = informed.weights(Signals(jacobian=jacobian, performance=torch.full((4,), 0.3)))
    torch.testing.assert_close(weights, equal, rtol=0, atol=0)
    assert control.metrics["omega"].tolist() == [1.0] * 4  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="one of performance, one"):
        build("pivrg", 4, 12, omega="two")
    assert arm_name("pivrg", {"omega": "one"}) == "pivrg-omega-one"
    assert arm_name("pivrg", {"omega": "performance"}) == arm_name("pivrg", {}) == "pivrg"


# -- SAM-GS -------------------------------------------------------------------------------------


def similarity(first: float, second: float) -> float:
    return 2 * first * second / (first**2 + second**2)


def test_sam_gs_equalises_rows_to_the_mean_norm() -> None:
    jacobian = torch.tensor([[1.0, 0.0], [0.0, 9.0]], dtype=torch.float64)
    method = build("sam_gs", 2, 2, threshold=0.9)
    direction = method.aggregate(Signals(jacobian=jacobian))
    torch.testing.assert_close(direction, torch.tensor([5.0, 5.0]).double())
    assert method.metrics["equalised"] == 1.0
    assert float(method.metrics["similarity"]) == pytest.approx(similarity(1, 9))


def test_sam_gs_takes_the_mean_norm_over_rows_with_a_gradient() -> None:
    jacobian = torch.tensor([[1.0, 0.0, 0.0], [0.0, 9.0, 0.0], [0.0, 0.0, 0.0]]).double()
    direction = build("sam_gs", 3, 3, threshold=0.9).aggregate(Signals(jacobian=jacobian))
    torch.testing.assert_close(direction, torch.tensor([5.0, 5.0, 0.0]).double())


def test_sam_gs_first_momentum_step() -> None:
    jacobian = torch.tensor([[1.0, -2.0], [2.0, 1.0]], dtype=torch.float64)  # equal norms
    method = build("sam_gs", 2, 2, beta2=0.99, epsilon=1e-8)
    direction = method.aggregate(Signals(jacobian=jacobian))
    h = 1e-8 / (1 - 0.99)  # (1 - Psi)^2 is zero
    expected = (jacobian.abs() * jacobian).sum(0) / math.sqrt(h)
    torch.testing.assert_close(direction, expected, rtol=1e-5, atol=1e-5)
    assert method.metrics["equalised"] == 0.0


def test_sam_gs_momentum_over_steps_follows_its_recursion() -> None:
    method = build("sam_gs", 2, 3, threshold=0.0, beta1=0.9, beta2=0.5)
    first, h = torch.zeros(2, 3, dtype=torch.float64), 0.0
    for t in range(1, 6):
        jacobian = rows(2, 3, seed=t)
        direction = method.aggregate(Signals(jacobian=jacobian))
        first = 0.9 * first + 0.1 * jacobian
        psi = similarity(*jacobian.norm(dim=1).tolist())
        h = 0.5 * h + 0.5 * (1 - psi) ** 2 + 1e-8
        moment = first / (1 - 0.9**t)
        expected = (moment.abs() * jacobian).sum(0) / math.sqrt(h / (1 - 0.5**t))
        torch.testing.assert_close(direction, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("min", similarity(1, 4)),
        ("mean", (similarity(1, 2) + similarity(1, 4) + similarity(2, 4)) / 3),
        ("paper_mean", (3 + 2 * (similarity(1, 2) + similarity(1, 4) + similarity(2, 4))) / 9),
    ],
)
def test_sam_gs_similarities(kind: str, expected: float) -> None:
    jacobian = torch.diag(torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64))
    method = build("sam_gs", 3, 3, similarity=kind)
    method.aggregate(Signals(jacobian=jacobian))
    assert float(method.metrics["similarity"]) == pytest.approx(expected)


def test_sam_gs_can_drive_h_by_the_mean_and_the_trigger_by_the_minimum() -> None:
    jacobian = torch.diag(torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64))
    both = build("sam_gs", 3, 3, similarity="min", h_similarity="mean")
    mean = build("sam_gs", 3, 3, similarity="mean")
    both.aggregate(Signals(jacobian=jacobian))
    mean.aggregate(Signals(jacobian=jacobian))
    assert torch.equal(both.h, mean.h)
    assert both.metrics["similarity"] < mean.metrics["similarity"]


# -- RGB ----------------------------------------------------------------------------------------


def objective(angles: Tensor, units: Tensor, reference: Tensor, proximity: float) -> Tensor:
    """RGB's inner objective on the vectors themselves."""
    m = len(units)
    across = reference - (units @ reference)[:, None] * units
    across = across / across.norm(dim=1, keepdim=True)
    rotated = angles.cos()[:, None] * units + angles.sin()[:, None] * across
    cosines = rotated @ rotated.T
    pairs = torch.triu_indices(m, m, 1)
    conflict = (1 - cosines[pairs[0], pairs[1]]).sum() / (m * (m - 1))
    return conflict + proximity / (4 * m) * (rotated - units).square().sum()


@pytest.mark.parametrize("proximity", [0.0, 1.0])
def test_rgbangle_gradient_is_that_of_its_objective(proximity: float) -> None:
    units = torch.nn.functional.normalize(rows(), dim=1)
    reference = rows(1, 12, seed=9)[0]
    angles = torch.linspace(0.0, 1.2, 4, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(objective(angles, units, reference, proximity), angles)
    given = (units @ units.T, units @ reference, reference @ reference)
    alive = torch.ones(4, dtype=torch.bool)
    actual = angle_gradient(angles.detach(), *given, alive, proximity)
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)
    value = angle_objective(angles.detach(), *given, alive, proximity)
    torch.testing.assert_close(value, objective(angles, units, reference, proximity).detach())


def test_rgb_is_its_algorithm_on_vectors() -> None:
    """The whole step in coordinates, with autograd, against the Gramian form."""
    method = build("rgb", 4, 12, inner_steps=7, inner_rate=0.5, proximity_weight=0.3, decay=0.8)
    method.double()
    reference = torch.zeros(12, dtype=torch.float64)
    for seed in range(4):
        jacobian = rows(seed=seed)
        units = torch.nn.functional.normalize(jacobian, dim=1)
        mean = units.mean(0)
        reference = 0.8 * reference + 0.2 * mean / mean.norm()
        angles = torch.zeros(4, dtype=torch.float64)
        for _ in range(7):
            angles.requires_grad_()
            (gradient,) = torch.autograd.grad(objective(angles, units, reference, 0.3), angles)
            angles = (angles.detach() - 0.5 * gradient).clamp(0, math.pi / 2)
        across = reference - (units @ reference)[:, None] * units
        across = across / across.norm(dim=1, keepdim=True)
        expected = (angles.cos()[:, None] * units + angles.sin()[:, None] * across).mean(0)
        direction = method.aggregate(Signals(jacobian=jacobian))
        torch.testing.assert_close(direction, expected, rtol=1e-8, atol=1e-8)
        torch.testing.assert_close(method.metrics["angles"], angles, rtol=1e-8, atol=1e-8)


def test_rgb_more_steps_mean_less_conflict() -> None:
    given = Signals(jacobian=rows())
    units = torch.nn.functional.normalize(rows(), dim=1)
    mean = units.mean(0)
    values = []
    for steps in (0, 5, 20, 80):
        method = build("rgb", 4, 12, inner_steps=steps, inner_rate=0.5)
        method.aggregate(given)
        angles = method.metrics["angles"]
        assert isinstance(angles, Tensor)
        values.append(float(objective(angles, units, 0.1 * mean / mean.norm(), 0.0)))
    assert values == sorted(values, reverse=True)
    assert values[-1] < values[0]


def test_rgb_does_not_count_rows_without_a_gradient() -> None:
    options = {"inner_steps": 7, "inner_rate": 0.5, "proximity_weight": 0.3}
    alive, all_rows = build("rgb", 4, 12, **options), build("rgb", 6, 12, **options)
    for seed in range(3):
        jacobian = rows(seed=seed)
        expected = alive.aggregate(Signals(jacobian=jacobian))
        with_dead = torch.cat([torch.zeros(1, 12), jacobian, torch.zeros(1, 12)])
        direction = all_rows.aggregate(Signals(jacobian=with_dead))
        torch.testing.assert_close(direction, expected, rtol=1e-6, atol=1e-7)
        for fact in ("angle_mean", "angle_max"):
            torch.testing.assert_close(all_rows.metrics[fact], alive.metrics[fact])


def test_rgb_turns_by_a_right_angle_at_most() -> None:
    method = build("rgb", 4, 12, inner_steps=1, inner_rate=1e4)
    method.aggregate(Signals(jacobian=rows()))
    angles = method.metrics["angles"]
    assert isinstance(angles, Tensor)
    assert angles.tolist() == [math.pi / 2] * 4


def test_rgb_rotates_at_intervals_only() -> None:
    method = build("rgb", 4, 12, interval=3)
    counts = []
    for seed in range(6):
        method.aggregate(Signals(jacobian=rows(seed=seed)))
        counts.append(int(method.metrics["inner_steps"]))
    assert counts == [30, 0, 0, 30, 0, 0]


def test_adaptive_rgb_takes_more_steps_where_losses_spread() -> None:
    method = build("rgb", 2, 12, adaptive=True)
    steps = []
    for losses in ([1.0, 1.0], [0.5, 0.5], [0.5, 5.0]):
        method.aggregate(Signals(jacobian=rows(2), losses=torch.tensor(losses)))
        steps.append(int(method.metrics["inner_steps"]))
    spread = 4.5  # std of the changes 0 and 9
    assert steps == [5, 5, round(5 + 45 * spread / (spread + 0.1))]


# -- Others -------------------------------------------------------------------------------------


def test_gradvac_reaches_its_target_cosine() -> None:
    jacobian = rows(2)
    jacobian[1] = -0.3 * jacobian[0] + 0.5 * jacobian[1]
    gramian = jacobian @ jacobian.T
    target = torch.full((2, 2), 0.4, dtype=torch.float64)
    order = torch.tensor([[1, 0], [0, 1]])
    coefficients, moved = vaccinate(gramian, order, target, 0.1)
    units = torch.nn.functional.normalize(jacobian, dim=1)
    turned = coefficients @ units
    before = float(units[0] @ units[1])
    for i, j in ((0, 1), (1, 0)):
        cosine = float(turned[i] @ units[j] / turned[i].norm())
        assert cosine == pytest.approx(0.4, abs=1e-9)
        assert float(moved[i, j]) == pytest.approx(0.9 * 0.4 + 0.1 * before)


def test_simplex_projection_is_the_nearest_point() -> None:
    for seed in range(20):
        point = 3.0 * rows(1, 5, seed)[0]
        projected = project_on_simplex(point)
        assert float(projected.sum()) == pytest.approx(1.0)
        assert (projected >= 0).all()
        used = projected > 1e-12  # the shift is the same on the support and not larger off it
        shift = (point - projected)[used]
        torch.testing.assert_close(shift, shift.mean().expand_as(shift))
        assert (point[~used] <= shift.mean() + 1e-9).all()


def test_moco_of_constant_gradients_tends_to_mgda() -> None:
    jacobian = rows(3)
    method = build("moco", 3, 12, weight_rate=0.05).double()
    for _ in range(3000):
        direction = method.aggregate(Signals(jacobian=jacobian))
    expected = build("mgda", 3, 12).aggregate(Signals(jacobian=jacobian))
    torch.testing.assert_close(direction, expected, rtol=0.02, atol=0.02)


def test_moco_in_libmtls_form_normalises_rows() -> None:
    jacobian = rows(3)
    method = build("moco", 3, 12, rows="loss", projection="softmax").double()
    losses = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    method.aggregate(Signals(jacobian=jacobian, losses=losses))
    tracked = 0.5 * losses[:, None] * torch.nn.functional.normalize(jacobian, dim=1)
    torch.testing.assert_close(method.tracked, tracked)
    mixture = torch.softmax(
        1 / 3 - 0.1 * (tracked @ tracked.T) @ torch.full((3,), 1 / 3).double(), 0
    )
    torch.testing.assert_close(method.mixture, mixture)


def test_cdtt_pulls_towards_the_larger_loss() -> None:
    jacobian = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    method = build("cdtt", 2, 2, tension=0.6)
    direction = method.aggregate(Signals(jacobian=jacobian, losses=torch.tensor([1.0, 10.0])))
    center = torch.tensor([0.5, 0.5], dtype=torch.float64)
    pulls = [0.6 / (1 + math.exp(math.e - math.e * delta)) + 0.4 for delta in (1.0, 2.0)]
    expected = center.clone()
    for pull, row in zip(pulls, jacobian, strict=True):
        expected += pull * (row - center) / (row - center).norm()
    torch.testing.assert_close(direction, expected)


def test_cdtt_growth_compares_windows_of_past_norms() -> None:
    """delta = zeta(t) / zeta(t - 1) + log10 loss, zeta the mean of the last two norms before t."""
    method = build("cdtt", 2, 2, tension=1.0, window=2)
    growths = [
        1.0,
        1.0,
        2.0,
        4.0 / 2.0,
        6.0 / 4.0,
    ]  # of the norms 1, 3, 5, 7: the last never counts
    for first, growth in zip((1.0, 3.0, 5.0, 7.0, 100.0), growths, strict=True):
        jacobian = torch.diag(torch.tensor([first, 1.0], dtype=torch.float64))
        direction = method.aggregate(Signals(jacobian=jacobian, losses=torch.ones(2)))
        center = torch.full((2,), first / (first + 1.0), dtype=torch.float64)
        expected = center.clone()
        for delta, row in zip((growth, 1.0), jacobian, strict=True):
            pull = 1.0 / (1.0 + math.exp(math.e - math.e * delta))
            expected += pull * (row - center) / (row - center).norm()
        torch.testing.assert_close(direction, expected)


# -- Random numbers -----------------------------------------------------------------------------


def test_counter_numbers_are_splitmix64() -> None:
    """The published generator in Python's integers."""
    mask = (1 << 64) - 1

    def mix(bits: int) -> int:
        bits = ((bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9) & mask
        bits = ((bits ^ (bits >> 27)) * 0x94D049BB133111EB) & mask
        return bits ^ (bits >> 31)

    random = CounterRandom(7)
    key = int(random.key) & mask
    draws = [*random.uniform(3).tolist(), *random.uniform(2).tolist()]
    for i, draw in enumerate(draws):
        bits = mix((key + (i + 1) * 0x9E3779B97F4A7C15) & mask)
        assert draw == ((bits >> 11) + 0.5) * 2.0**-53


def test_counter_numbers_look_random() -> None:
    random = CounterRandom(0)
    uniform = random.uniform(20000)
    assert float(uniform.min()) > 0 and float(uniform.max()) < 1
    assert float(uniform.mean()) == pytest.approx(0.5, abs=0.01)
    assert abs(float(torch.corrcoef(torch.stack([uniform[:-1], uniform[1:]]))[0, 1])) < 0.03
    normal = random.normal(20000)
    assert float(normal.mean()) == pytest.approx(0.0, abs=0.03)
    assert float(normal.var()) == pytest.approx(1.0, abs=0.05)
    orders = random.permutations(600, 3)
    assert torch.equal(orders.sort(1).values, torch.arange(3).expand(600, 3))
    _, counts = orders.unique(dim=0, return_counts=True)
    assert len(counts) == 6
    assert int(counts.min()) > 60


def test_seeds_give_unrelated_numbers() -> None:
    first, second = CounterRandom(0).uniform(5000), CounterRandom(1).uniform(5000)
    assert abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) < 0.05


def test_ri_pcgrad_gives_projected_gradients_their_norms_back() -> None:
    g = torch.tensor([[2.0, 0.0], [-3.0, 1.0]], dtype=torch.float64)
    turned = torch.stack([g[0] - (g[0] @ g[1]) / (g[1] @ g[1]) * g[1], torch.tensor([0.0, 1.0])])
    expected = sum(torch.nn.functional.normalize(turned, dim=1) * g.norm(dim=1, keepdim=True))
    found = build("ri_pcgrad", 2, 2).aggregate(Signals(jacobian=g))
    torch.testing.assert_close(found, expected)
