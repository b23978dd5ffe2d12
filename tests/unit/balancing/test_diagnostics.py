"""Measures against definitions on vectors, by hand, and against published tables."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

from mtrl.balancing import METHODS, Aggregator, Balancer, Performance, Signals, Weighting, build
from mtrl.balancing.adjusted import AdjustedRows
from mtrl.balancing.diagnostics import (
    conflict_diagnostics,
    mer_balance,
    row_measures,
    step_diagnostics,
    update_diagnostics,
    weighting_diagnostics,
)
from mtrl.balancing.methods._rng import CounterRandom
from mtrl.balancing.methods.moco import MoCo
from mtrl.balancing.methods.sam_gs import SAMGS
from mtrl.balancing.omega import omega_measures, performance_weights

ALIVE = torch.ones(4, dtype=torch.bool)


def rows(m: int = 4, n: int = 10) -> Tensor:
    return torch.randn(m, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_conflict_is_that_of_the_vectors() -> None:
    jacobian = rows()
    report = conflict_diagnostics(jacobian @ jacobian.T)
    mean = jacobian.mean(0)
    expected = torch.cosine_similarity(jacobian, mean[None], dim=1)
    torch.testing.assert_close(report["cos_to_mean"], expected)
    units = torch.nn.functional.normalize(jacobian, dim=1)
    pairs = torch.tensor([float(units[i] @ units[j]) for i in range(4) for j in range(i)])
    measured = row_measures(AdjustedRows.unchanged(jacobian @ jacobian.T), ALIVE)
    assert float(measured["conflict"]) == pytest.approx(float((1 - pairs).mean() / 2))
    assert float(report["conflict_rate"]) == pytest.approx(float((pairs < 0).double().mean()))
    assert float(report["cos_min"]) == pytest.approx(float(pairs.min()))
    assert float(measured["condition_number"]) == pytest.approx(
        float(torch.linalg.cond(units @ units.T)), rel=1e-6
    )


@pytest.mark.parametrize(
    ("pair", "conflict"),
    [(([1.0, 0], [2.0, 0]), 0.0), (([1.0, 0], [0, 1.0]), 0.5), (([1.0, 0], [-3.0, 0]), 1.0)],
)
def test_conflict_of_aligned_orthogonal_and_opposed(pair: tuple, conflict: float) -> None:
    jacobian = torch.tensor(pair, dtype=torch.float64)
    rows = AdjustedRows.unchanged(jacobian @ jacobian.T)
    assert float(row_measures(rows, ALIVE[:2])["conflict"]) == conflict


def test_update_angles_are_those_of_the_vectors() -> None:
    jacobian = rows()
    method = build("cagrad", 4, 10)
    assert isinstance(method, Weighting)
    weights = method.weights(Signals(jacobian=jacobian))
    report = weighting_diagnostics(jacobian @ jacobian.T, weights)
    cosine = torch.cosine_similarity(jacobian, (weights @ jacobian)[None], dim=1)
    torch.testing.assert_close(report["update_angles"], torch.rad2deg(cosine.acos()))
    assert float(report["worst_gain"]) == pytest.approx(float(cosine.min()))
    assert 1.0 <= float(report["effective_tasks"]) <= 4.0
    direction = build("sam_gs", 4, 10).aggregate(Signals(jacobian=jacobian))
    report = update_diagnostics(jacobian @ jacobian.T, jacobian @ direction, direction @ direction)
    cosine = torch.cosine_similarity(jacobian, direction[None], dim=1)
    torch.testing.assert_close(report["update_angles"], torch.rad2deg(cosine.acos()))


def test_common_descent_fails_where_a_task_gets_worse() -> None:
    jacobian = torch.tensor([[3.0, 0.0], [-1.0, 1.0]], dtype=torch.float64)
    gramian = jacobian @ jacobian.T
    assert weighting_diagnostics(gramian, torch.ones(2))["common_descent"] == 0.0
    mgda = build("mgda", 2, 2)
    assert isinstance(mgda, Weighting)
    weights = mgda.weights(Signals(gramian=gramian))
    assert weighting_diagnostics(gramian, weights)["common_descent"] == 1.0


@pytest.mark.parametrize(
    ("conflict", "proximity", "kappa", "balance"),
    [
        (0.445, 0.120, 9.00, 0.249),
        (0.349, 0.0074, 2.83, 0.438),
        (0.229, 2.2e-5, 1.60, 0.559),
        (0.485, 2e-4, 2.65, 0.430),
    ],
)
def test_mer_balance_reproduces_the_published_table(
    conflict: float, proximity: float, kappa: float, balance: float
) -> None:
    values = (torch.tensor(value) for value in (conflict, proximity, kappa))
    assert float(mer_balance(*values)) == pytest.approx(balance, abs=1e-3)


def measured(method: Aggregator, jacobian: Tensor) -> dict[str, float]:
    """What a step with diagnostics says of the rows that a method combined, and of the raw ones."""
    losses = torch.ones(len(jacobian))
    answer = method.balance(Signals(jacobian=jacobian, losses=losses, diagnose=True))
    gramian, direction = jacobian @ jacobian.T, answer.flat()
    report = step_diagnostics(
        gramian, jacobian @ direction, direction @ direction, adjusted=answer.adjusted
    )
    return {name: float(value) for name, value in report.items() if value.dim() == 0}


def random_of(method: Aggregator) -> CounterRandom:
    """The method's own random numbers."""
    (found,) = (module for module in method.modules() if isinstance(module, CounterRandom))
    return found


def by_definition(adjusted: Tensor, jacobian: Tensor) -> dict[str, float]:
    """RGB's equations 3 to 6 on the vectors themselves."""
    r = torch.nn.functional.normalize(adjusted.double(), dim=1)
    u = torch.nn.functional.normalize(jacobian.double(), dim=1)
    m = len(r)
    conflict = float(
        torch.stack([(1 - r[i] @ r[j]) / 2 for i in range(m) for j in range(i)]).mean()
    )
    proximity = float((r - u).square().sum(1).mean() / 4)
    kappa = float(torch.linalg.cond(r @ r.T))
    return {
        "conflict": conflict,
        "proximity": proximity,
        "condition_number": kappa,
        "mer_balance": ((1 + conflict) * (1 + proximity) * (1 + kappa)) ** -0.5,
    }


def test_measures_of_pcgrad_by_hand() -> None:
    """Two rows at 120 degrees: each is projected across the other and turns by 30 degrees."""
    jacobian = torch.tensor([[2.0, 0.0], [-0.5, 0.75**0.5]], dtype=torch.float64)
    report = measured(build("pcgrad", 2, 2), jacobian)
    assert report["raw_conflict"] == pytest.approx(0.75)  # (1 + 1/2) / 2
    assert report["raw_condition_number"] == pytest.approx(3.0)  # 1.5 over 0.5
    assert report["conflict"] == pytest.approx(0.25)  # 60 degrees apart
    assert report["proximity"] == pytest.approx((1 - math.cos(math.pi / 6)) / 2)
    assert report["condition_number"] == pytest.approx(3.0)
    assert "raw_proximity" not in report


def test_measures_of_graddrop_are_those_of_the_masked_rows() -> None:
    jacobian = torch.tensor([[1.0, 2.0, -1.0, 3.0], [-1.0, 1.0, 4.0, 2.0]], dtype=torch.float64)
    method = build("graddrop", 2, 4, seed=1, leak=0.25)
    kept = set()
    for _ in range(8):
        draw = copy.deepcopy(random_of(method)).uniform(4)
        purity = 0.5 * (1 + jacobian.sum(0) / jacobian.abs().sum(0))
        mask = torch.where(purity > draw, jacobian > 0, jacobian < 0)
        expected = by_definition(torch.where(mask, jacobian, 0.25 * jacobian), jacobian)
        report = measured(method, jacobian)
        assert {name: report[name] for name in expected} == pytest.approx(expected, rel=1e-6)
        assert report["proximity"] > 1e-3
        kept.add(tuple(mask.flatten().tolist()))
    assert len(kept) > 1, "the draws should differ"


def test_a_step_without_conflict_changes_no_row() -> None:
    jacobian = rows().abs()
    for name in ("pcgrad", "ri_pcgrad", "graddrop", "upgrad"):
        report = measured(build(name, 4, 10), jacobian)
        assert report["proximity"] == pytest.approx(0.0, abs=1e-12), name
        for fact in ("conflict", "condition_number", "mer_balance"):
            assert report[fact] == pytest.approx(report[f"raw_{fact}"]), name


@pytest.mark.parametrize("adaptive", [False, True])
def test_measures_of_rgb_are_those_of_its_rotated_rows(adaptive: bool) -> None:
    method = build("rgb", 4, 10, inner_steps=20, inner_rate=0.3, decay=0.5, adaptive=adaptive)
    method.double()
    reference = torch.zeros(10, dtype=torch.float64)
    for step in range(3):
        jacobian = rows().roll(step, 1)
        report = measured(method, jacobian)
        units = torch.nn.functional.normalize(jacobian, dim=1)
        reference = 0.5 * reference + 0.5 * torch.nn.functional.normalize(units.mean(0), dim=0)
        across = reference - (units @ reference)[:, None] * units
        across = torch.nn.functional.normalize(across, dim=1)
        angles = method.metrics["angles"]
        assert isinstance(angles, Tensor)
        rotated = angles.cos()[:, None] * units + angles.sin()[:, None] * across
        expected = by_definition(rotated, jacobian)
        assert {name: report[name] for name in expected} == pytest.approx(expected, rel=1e-6)
        assert report["conflict"] < report["raw_conflict"]
        assert report["proximity"] == pytest.approx(float((1 - angles.cos()).mean() / 2))


def surgery(jacobian: Tensor, order: Tensor, target: float | None) -> Tensor:
    """PCGrad's rows, or GradVac's with one target, vector by vector."""
    result = jacobian.clone()
    for i, row in enumerate(result):
        for j in order[i].tolist():
            if i == j:
                continue
            other, product = jacobian[j], row @ jacobian[j]
            if target is None and product < 0:
                row -= product / (other @ other) * other
            phi = product / (row.norm() * other.norm())
            if target is not None and phi < target:
                away, sine = (1 - target**2) ** 0.5, (1 - phi**2) ** 0.5
                row += row.norm() * (target * sine - phi * away) / (other.norm() * away) * other
    return result


@pytest.mark.parametrize(
    ("name", "target"), [("pcgrad", None), ("ri_pcgrad", None), ("gradvac", 0.0)]
)
def test_measures_of_surgery_are_those_of_its_rows(name: str, target: float | None) -> None:
    jacobian = rows() * torch.tensor([[1.0], [5.0], [0.2], [2.0]])
    method = build(name, 4, 10)
    order = copy.deepcopy(random_of(method)).permutations(4, 4)
    expected = by_definition(surgery(jacobian, order, target), jacobian)
    report = measured(method, jacobian)
    assert {name: report[name] for name in expected} == pytest.approx(expected, rel=1e-6)
    assert report["conflict"] < report["raw_conflict"]


def test_measures_of_aligned_mtl_are_those_of_orthogonal_rows() -> None:
    report = measured(build("aligned_mtl", 4, 10), rows())
    assert report["conflict"] == pytest.approx(0.5)
    assert report["condition_number"] == pytest.approx(1.0)
    assert report["proximity"] > 1e-3


def test_measures_of_upgrad_are_those_of_its_projections() -> None:
    """Two rows at 120 degrees: the dual cone's edges are across the other row, as in PCGrad."""
    jacobian = torch.tensor([[2.0, 0.0], [-0.5, 0.75**0.5]], dtype=torch.float64)
    expected = measured(build("pcgrad", 2, 2), jacobian)
    report = measured(build("upgrad", 2, 2), jacobian)
    for name in ("conflict", "proximity", "condition_number", "mer_balance"):
        assert report[name] == pytest.approx(expected[name]), name


def test_measures_of_sam_gs_and_moco_are_those_of_what_they_sum() -> None:
    jacobian = rows()
    sam_gs = SAMGS(4, 10, threshold=0.0).double()  # always the momentum branch
    report = measured(sam_gs, jacobian)
    expected = by_definition(sam_gs.moments.abs() * jacobian, jacobian)
    assert {name: report[name] for name in expected} == pytest.approx(expected, rel=1e-6)
    equalised = measured(build("sam_gs", 4, 10, threshold=1.1), jacobian)
    assert equalised["conflict"] == pytest.approx(equalised["raw_conflict"])
    moco = MoCo(4, 10).double()
    for shift in range(2):
        report = measured(moco, jacobian.roll(shift, 1))
    expected = by_definition(moco.tracked, jacobian.roll(1, 1))
    assert {name: report[name] for name in expected} == pytest.approx(expected, rel=1e-6)
    assert report["proximity"] > 1e-3


def test_rows_without_length_are_left_out() -> None:
    """Opposed rows: PCGrad leaves nothing of both. The third is orthogonal; a fourth has no gradient."""
    jacobian = torch.tensor([[1.0, 0, 0], [-2.0, 0, 0], [0, 1.0, 0], [0, 0, 0]]).double()
    report = measured(build("pcgrad", 4, 3), jacobian)
    assert report["raw_conflict"] == pytest.approx((1.0 + 0.5 + 0.5) / 3)
    assert report["conflict"] == 0.0  # one row, no pair
    assert report["proximity"] == pytest.approx((0.5 + 0.5 + 0.0) / 3)
    assert report["condition_number"] == pytest.approx(1.0)


def test_what_cancellation_leaves_is_no_row() -> None:
    """The first row is a difference of equal vectors, to rounding; its direction means nothing."""
    inner = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]).double()
    coefficients = torch.eye(3, dtype=torch.float64)
    coefficients[0, 1] = 1e-9 - 1.0
    assert float(coefficients[0] @ inner @ coefficients[0]) > 0.0
    rows = AdjustedRows.combined(inner, coefficients)
    assert rows.gramian.diagonal().tolist() == [0.0, 1.0, 1.0]
    assert rows.own.tolist() == [0.0, 1.0, 1.0]
    assert float(row_measures(rows, ALIVE[:3])["conflict"]) == 0.5


ADJUSTING = {"pcgrad", "ri_pcgrad", "gradvac", "graddrop", "rgb", "upgrad", "aligned_mtl", "sam_gs",
             "moco"}  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_measuring_changes_no_step_and_costs_nothing_unasked(name: str) -> None:
    options = METHODS[name].example_options
    plain, asked = (build(name, 2, 10, **options) for _ in range(2))
    for seed in range(3):
        jacobian = torch.randn(2, 10, generator=torch.Generator().manual_seed(seed))
        losses, performance = torch.tensor([1.0, 2.0]), torch.tensor([0.2, 0.7])
        signals = Signals(jacobian=jacobian, losses=losses, performance=performance)
        direction = plain.balance(signals)
        assert direction.adjusted is None
        assert "angle_gmae" not in plain.metrics
        assert "omega_square" not in plain.metrics
        diagnosed = asked.balance(signals.replaced(diagnose=True))
        assert torch.equal(diagnosed.flat(), direction.flat())
        assert (diagnosed.adjusted is not None) == (name in ADJUSTING)
        assert ("omega_square" in asked.metrics) == (name == "pivrg")
    for (key, left), (_, right) in zip(plain.named_buffers(), asked.named_buffers(), strict=True):
        assert torch.equal(left, right), key
    assert asked.balance(signals).adjusted is None, "nothing is kept of the call before"


def test_the_balancer_reports_adjusted_rows_and_raw_ones() -> None:
    weight = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
    jacobian = torch.tensor([[2.0, 0.0], [-0.5, 0.75**0.5]], dtype=torch.float64)
    balancer = Balancer(build("pcgrad", 2, 2), {"w": weight}, {}, mode="loop")
    report = balancer.backward(lambda shared: (jacobian @ shared["w"], None), diagnose=True).metrics
    assert float(report["conflict"]) == pytest.approx(0.25)
    assert float(report["raw_conflict"]) == pytest.approx(0.75)
    plain = balancer.backward(lambda shared: (jacobian @ shared["w"], None)).metrics
    assert "conflict" not in plain
    balancer = Balancer(build("ls", 2, 2), {"w": weight}, {}, mode="loop")
    report = balancer.backward(lambda shared: (jacobian @ shared["w"], None), diagnose=True).metrics
    assert float(report["conflict"]) == float(report["raw_conflict"]) == pytest.approx(0.75)
    assert float(report["proximity"]) == 0.0


def test_drop_variance_is_near_its_estimate_for_small_spreads() -> None:
    options = {"min_temperature": 10.0, "bound": 2.0}
    performance = Performance(torch.tensor([0.90, 0.91, 0.92, 0.93], dtype=torch.float64))
    report = omega_measures(performance, **options)
    assert float(report["drop_variance"]) == pytest.approx(1.25)
    assert float(report["drop_variance_estimate"]) == pytest.approx(1.25, rel=0.05)
    assert float(report["omega_temperature"]) == 10.0
    wide = omega_measures(Performance(torch.tensor([0.0, math.nan, 1.0]).double()), **options)
    assert float(wide["omega_temperature"]) == pytest.approx(100.0 / math.log(2.0))
    assert float(wide["drop_variance"]) == pytest.approx(2500.0)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("pivrg", {"min_temperature": 100.0, "bound": 1.8}),
        ("ls", {"pi": {"min_temperature": 100.0, "bound": 1.8}}),
        ("nash_mtl", {"pi": {"min_temperature": 100.0, "bound": 1.8}}),
        ("pcgrad", {"pi": {"min_temperature": 100.0, "bound": 1.8}}),
    ],
)
@pytest.mark.parametrize("spread", [0.4, 0.8])  # tau* decides, and the bound
def test_omega_is_measured_with_the_methods_own_options(
    method: str, options: dict, spread: float
) -> None:
    performance = 0.1 + spread * torch.tensor([0.0, 0.5, 1.0, 0.4], dtype=torch.float64)
    balancing = build(method, 4, 10, **options)
    answer = balancing.balance(
        Signals(losses=torch.ones(4), jacobian=rows(), performance=performance, diagnose=True)
    )
    omega = performance_weights(Performance(performance), min_temperature=100.0, bound=1.8)
    facts = balancing.metrics
    assert float(facts["omega_square"]) == pytest.approx(float(omega.square().sum()))
    tau = max(100.0 * spread / math.log(1.8), 100.0)
    assert float(facts["omega_temperature"]) == pytest.approx(tau)
    estimate = tau**2 * (float(omega.square().sum()) / 4 - 1)
    assert float(facts["drop_variance_estimate"]) == pytest.approx(estimate)
    assert (answer.adjusted is not None) == (method in ADJUSTING)


@pytest.mark.parametrize("proximity_weight", [0.0, 0.3, 1.0])
def test_angle_errors_vanish_at_the_minimum_of_the_methods_own_objective(
    proximity_weight: float,
) -> None:
    reports = []
    for steps in (0, 3000):
        method = build(
            "rgb", 4, 10, inner_steps=steps, inner_rate=1.0, proximity_weight=proximity_weight
        )
        method.aggregate(Signals(jacobian=rows(), diagnose=True))
        reports.append({k: float(v) for k, v in method.metrics.items() if k.startswith("angle_")})
    start, end = reports
    assert end["angle_gmae"] < 1e-5 < 0.1 < start["angle_gmae"]
    assert start["angle_ucae"] == pytest.approx(start["angle_gmae"])  # too little everywhere
    assert start["angle_ocae"] == 0.0
    assert start["angle_mcae"] == pytest.approx(-start["angle_gmae"])
    # As printed: signed errors less a mean of sizes.
    assert start["angle_sd_mae"] > 1.9 * start["angle_gmae"]
