"""Diagnostics against definitions on vectors and against published tables."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mtrl.balancing import Performance, Signals, Weighting, build
from mtrl.balancing.diagnostics import (
    angle_errors,
    conflict_diagnostics,
    mer_balance,
    performance_diagnostics,
    rotation_diagnostics,
    update_diagnostics,
    weighting_diagnostics,
)
from mtrl.balancing.gramian import cosines
from mtrl.balancing.methods.rgb import coefficients
from mtrl.balancing.projections import project_conflicts


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
    assert float(report["conflict"]) == pytest.approx(float((1 - pairs).mean() / 2))
    assert float(report["conflict_rate"]) == pytest.approx(float((pairs < 0).double().mean()))
    assert float(report["cos_min"]) == pytest.approx(float(pairs.min()))
    assert float(report["condition_number"]) == pytest.approx(
        float(torch.linalg.cond(units @ units.T)), rel=1e-6
    )


@pytest.mark.parametrize(
    ("pair", "conflict"),
    [(([1.0, 0], [2.0, 0]), 0.0), (([1.0, 0], [0, 1.0]), 0.5), (([1.0, 0], [-3.0, 0]), 1.0)],
)
def test_conflict_of_aligned_orthogonal_and_opposed(pair: tuple, conflict: float) -> None:
    jacobian = torch.tensor(pair, dtype=torch.float64)
    assert float(conflict_diagnostics(jacobian @ jacobian.T)["conflict"]) == conflict


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


def test_rotation_measures_of_pcgrad_are_those_of_its_rows() -> None:
    jacobian = rows(3, 3)
    gramian = jacobian @ jacobian.T
    order = torch.arange(3).expand(3, 3)
    turned = project_conflicts(gramian, order)
    units = torch.nn.functional.normalize(jacobian, dim=1)
    adjusted = torch.nn.functional.normalize(turned @ units, dim=1)
    report = rotation_diagnostics(cosines(gramian), turned)
    assert float(report["proximity"]) == pytest.approx(
        float((adjusted - units).square().sum(1).mean() / 4)
    )
    pairs = torch.stack(
        [adjusted[0] @ adjusted[1], adjusted[0] @ adjusted[2], adjusted[1] @ adjusted[2]]
    )
    assert float(report["conflict"]) == pytest.approx(float((1 - pairs).mean() / 2))


def test_rgb_rotation_measures_use_the_reference() -> None:
    jacobian = rows()
    method = build("rgb", 4, 10, inner_steps=20, inner_rate=1.0)
    method.aggregate(Signals(jacobian=jacobian))
    facts = method.metrics
    cosine = cosines(jacobian @ jacobian.T)
    angles, products, square = (
        facts[k] for k in ("angles", "reference_products", "reference_square")
    )
    assert (
        isinstance(angles, Tensor) and isinstance(products, Tensor) and isinstance(square, Tensor)
    )
    own, shared, _ = coefficients(angles, products, square, torch.ones(4, dtype=torch.bool))
    length = square.sqrt()
    extended = torch.zeros(5, 5, dtype=torch.float64)
    extended[:4, :4], extended[4, 4] = cosine, 1.0
    extended[4, :4] = extended[:4, 4] = products / length
    rotated = torch.cat([torch.diag(own), (shared * length)[:, None]], dim=1)
    report = rotation_diagnostics(extended, rotated)
    assert float(report["proximity"]) == pytest.approx(
        float((0.5 * (1 - angles.cos())).mean()), rel=1e-5
    )
    before = conflict_diagnostics(jacobian @ jacobian.T)["conflict"]
    assert report["conflict"] < before


def test_drop_variance_is_near_its_estimate_for_small_spreads() -> None:
    report = performance_diagnostics(
        Performance(torch.tensor([0.90, 0.91, 0.92, 0.93], dtype=torch.float64))
    )
    assert float(report["drop_variance"]) == pytest.approx(1.25)
    assert float(report["drop_variance_estimate"]) == pytest.approx(1.25, rel=0.05)
    assert float(report["temperature"]) == 10.0
    assert float(report["omega_square"]) == pytest.approx(float(report["omega"].square().sum()))
    wide = performance_diagnostics(Performance(torch.tensor([0.0, 1.0]).double()))
    assert float(wide["temperature"]) == pytest.approx(100.0 / math.log(2.0))


def test_angle_errors_vanish_at_the_minimum_and_are_signed() -> None:
    jacobian = rows()
    given = Signals(jacobian=jacobian)
    reports = []
    for steps in (0, 3000):
        method = build("rgb", 4, 10, inner_steps=steps, inner_rate=1.0, proximity_weight=1.0)
        method.aggregate(given)
        facts = [method.metrics[k] for k in ("angles", "reference_products", "reference_square")]
        angles, products, square = (torch.as_tensor(fact) for fact in facts)
        reports.append(angle_errors(angles, cosines(given.gramian), products, square, 1.0))
    start, end = reports
    assert end["gmae"] < 1e-4 < start["gmae"]
    assert start["ucae"] == pytest.approx(start["gmae"])  # no rotation is too little everywhere
    assert start["ocae"] == 0.0
    assert start["mcae"] == pytest.approx(-start["gmae"])
    assert start["sd_mae"] > 1.9 * start["gmae"]  # as printed: signed errors less a mean of sizes
