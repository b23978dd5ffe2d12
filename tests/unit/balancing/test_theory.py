"""What the papers prove about their methods, on problems where it can be computed."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mtrl.balancing import Signals, Weighting, build
from mtrl.balancing.methods.rgb import coefficients


@pytest.mark.parametrize("seed", range(3))
def test_pivrg_with_the_step_of_theorem_1_lowers_the_mean_loss(seed: int) -> None:
    """PIVRG, Theorem 1: eta = sum sqrt(omega / a) / (m L sum sqrt(omega a)), for L-smooth losses.

    The mean loss then falls by at least L eta^2 / 2 sum sqrt(omega a), and the smallest singular
    value of the gradients tends to 0.
    """
    generator = torch.Generator().manual_seed(seed)
    m, n, smoothness = 3, 5, 4.0
    root = torch.randn(m, n, n, generator=generator, dtype=torch.float64)
    curvature = root @ root.mT + 0.1 * torch.eye(n, dtype=torch.float64)
    curvature *= smoothness / torch.linalg.matrix_norm(curvature, 2)[:, None, None]
    optima = torch.randn(m, n, generator=generator, dtype=torch.float64)

    def gradients(point: Tensor) -> Tensor:
        return torch.einsum("mij,mj->mi", curvature, point - optima)

    def mean_loss(point: Tensor) -> float:
        return float(0.5 * ((point - optima) * gradients(point)).sum(1).mean())

    method = build("pivrg", m, n)
    assert isinstance(method, Weighting)
    point, singular = 5.0 * torch.ones(n, dtype=torch.float64), []
    for _ in range(400):
        rows = gradients(point)
        singular.append(float(torch.linalg.svdvals(rows)[-1]))
        success = torch.rand(m, generator=generator, dtype=torch.float64)
        weights = method.weights(Signals(jacobian=rows, performance=success))
        omega = method.metrics["omega"]
        assert isinstance(omega, Tensor)
        if method.metrics["solver_failures"]:
            break  # as good as stationary
        spread = float((omega * weights).sqrt().sum())
        gain = float((omega / weights).sqrt().sum()) / m
        direction = weights @ rows
        assert float(direction @ rows.mean(0)) == pytest.approx(gain, rel=1e-4)
        assert float(direction @ direction) == pytest.approx(spread, rel=1e-4)
        step = gain / (smoothness * spread)
        moved = point - step * direction
        least = 0.5 * smoothness * step**2 * spread
        assert mean_loss(point) - mean_loss(moved) >= least * (1.0 - 1e-9)
        point = moved
    assert singular[-1] < 1e-4 * singular[0]


@pytest.mark.parametrize("seed", range(3))
def test_rgb_turns_a_unit_gradient_towards_d(seed: int) -> None:
    """r(alpha) has length 1 and the angle alpha to u; a quarter turn ends at w, across u; d is met."""
    generator = torch.Generator().manual_seed(seed)
    units = torch.nn.functional.normalize(
        torch.randn(6, 4, generator=generator, dtype=torch.float64), dim=1
    )
    d = torch.randn(4, generator=generator, dtype=torch.float64)
    product, square, alive = units @ d, d @ d, torch.ones(6, dtype=torch.bool)

    def rotated(angles: Tensor) -> Tensor:
        own, shared, _ = coefficients(angles, product, square, alive)
        return own[:, None] * units + shared[:, None] * d

    angles = math.pi / 2 * torch.rand(6, generator=generator, dtype=torch.float64)
    turned = rotated(angles)
    torch.testing.assert_close(turned.norm(dim=1), torch.ones(6, dtype=torch.float64))
    torch.testing.assert_close((turned * units).sum(1), angles.cos())
    torch.testing.assert_close(
        (turned - units).square().sum(1), 2.0 - 2.0 * angles.cos()
    )  # the proximity term in its reduced form
    across = rotated(torch.full_like(angles, math.pi / 2))
    expected = torch.nn.functional.normalize(d - product[:, None] * units, dim=1)
    torch.testing.assert_close(across, expected)
    met = rotated((product / square.sqrt()).acos())
    torch.testing.assert_close(met, (d / d.norm()).expand(6, 4))


def test_rgb_s_d_is_the_decaying_mean_of_unit_means() -> None:
    """d_t = (1 - mu) sum_s mu^(t - s) y_s / |y_s|, with y the mean of the unit gradients."""
    generator = torch.Generator().manual_seed(0)
    method = build("rgb", 3, 5, decay=0.8).double()
    expected = torch.zeros(5, dtype=torch.float64)
    for step in range(6):
        rows = torch.randn(3, 5, generator=generator, dtype=torch.float64)
        method.aggregate(Signals(jacobian=rows))
        mean = torch.nn.functional.normalize(rows, dim=1).mean(0)
        expected += 0.2 * 0.8 ** (5 - step) * mean / mean.norm()
    torch.testing.assert_close(method.reference, expected)


@pytest.mark.parametrize(
    ("steps", "rate", "opposed"), [(0, 0.1, -0.83), (30, 0.1, -0.53), (3000, 1.0, -0.47)]
)
def test_rgb_can_oppose_a_task_although_a_common_descent_exists(
    steps: int, rate: float, opposed: float
) -> None:
    """Against the paper's theorem of a strict descent for every task: it fails in general."""
    rows = torch.tensor([[1.0, 0.3, 0.0], [1.0, -0.3, 0.0], [-1.0, 0.0, 0.3]], dtype=torch.float64)
    common = build("mgda", 3, 3).aggregate(Signals(jacobian=rows))
    assert (rows @ common > 1e-3).all()
    method = build("rgb", 3, 3, inner_steps=steps, inner_rate=rate).double()
    direction = method.aggregate(Signals(jacobian=rows))
    cosines = rows @ direction / rows.norm(dim=1) / direction.norm()
    assert float(cosines[2]) == pytest.approx(opposed, abs=0.005)


def test_adaptive_rgb_takes_the_most_steps_where_the_spread_is_no_number() -> None:
    method = build("rgb", 2, 4, adaptive=True)
    rows = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    for losses in ([0.0, 0.0], [1e305, 1.0]):
        given = torch.tensor(losses, dtype=torch.float64)
        method.aggregate(Signals(jacobian=rows, losses=given))
    assert int(method.metrics["inner_steps"]) == 50


def test_adaptive_rgb_rounds_its_steps_to_the_nearest() -> None:
    method = build("rgb", 2, 4, adaptive=True, min_steps=0, max_steps=10, spread_scale=0.1)
    rows = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    for losses in ([1.0, 1.0], [1.0, 1.38]):  # a spread of 0.19: 10 x 0.19 / 0.29 = 6.55
        method.aggregate(Signals(jacobian=rows, losses=torch.tensor(losses)))
    assert int(method.metrics["inner_steps"]) == 7
