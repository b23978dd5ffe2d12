"""Identities, scaling laws and theory of single methods, from their papers."""

from __future__ import annotations

import math

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from balancing_cases import GRADIENT_WEIGHTINGS, jacobian, make, signals
from hypothesis import given, settings
from torch import Tensor

from mtrl.balancing import METHODS, Signals, Weighting, build
from mtrl.balancing.solvers import min_norm_point


def direction(name: str, rows: Tensor, losses: Tensor | None = None, **options: object) -> Tensor:
    method = make(name, *rows.shape, **options)
    success = torch.full((len(rows),), 0.5)
    if losses is None:
        losses = torch.ones(len(rows), dtype=torch.float64)
    return method.aggregate(Signals(jacobian=rows, losses=losses, performance=success))


def weights(name: str, rows: Tensor, **options: object) -> Tensor:
    method = make(name, *rows.shape, **options)
    assert isinstance(method, Weighting)
    return method.weights(signals(rows))


def close(actual: Tensor, expected: Tensor, tolerance: float = 1e-8) -> None:
    torch.testing.assert_close(
        actual,
        expected.to(actual.dtype),
        rtol=tolerance,
        atol=tolerance * float(expected.abs().max()),
    )


def cosine(first: Tensor, second: Tensor) -> float:
    return float(first @ second / first.norm() / second.norm())


def two_rows(cos: float, first: float = 1.0, second: float = 1.0) -> Tensor:
    sine = math.sqrt(1.0 - cos * cos)
    rows = torch.tensor([[1.0, 0.0, 0.0], [cos, sine, 0.0]], dtype=torch.float64)
    return rows * torch.tensor([[first], [second]], dtype=torch.float64)


# -- Identities ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["random", "aligned", "conflict"])
def test_pivrg_at_equal_performance_is_fairgrad_2(kind: str) -> None:
    rows = jacobian(kind, 5, 30)
    close(direction("pivrg", rows), direction("fairgrad", rows, alpha=2.0))


def test_fairgrad_1_is_nash() -> None:
    rows = jacobian("random", 5, 30)
    close(direction("fairgrad", rows, alpha=1.0), direction("nash_mtl", rows))


def test_fairgrad_informed_at_alpha_2_is_pivrg() -> None:
    rows = jacobian("random", 5, 30)
    informed = build("fairgrad", 5, 30, pi={"min_temperature": 20.0, "bound": 1.8})
    reference = build("pivrg", 5, 30, min_temperature=20.0, bound=1.8)
    close(informed.aggregate(signals(rows)), reference.aggregate(signals(rows)))


def test_fairgrad_limits_are_the_sum_and_the_largest_smallest_gain() -> None:
    rows = jacobian("random", 4, 30)
    rows /= rows.norm(dim=1, keepdim=True)
    assert cosine(direction("fairgrad", rows, alpha=0.01), rows.sum(0)) > 0.9999
    assert cosine(direction("fairgrad", rows, alpha=100.0), direction("mgda", rows)) > 0.999


def test_cagrad_without_radius_is_the_mean() -> None:
    rows = jacobian("conflict", 5, 30)
    close(direction("cagrad", rows, radius=0.0), rows.mean(0))


def test_cagrad_with_a_large_radius_points_as_mgda() -> None:
    rows = jacobian("random", 4, 30)
    far = direction("cagrad", rows, radius=1e4, rescale="none")
    assert cosine(far, direction("mgda", rows)) > 1 - 1e-6


def test_cagrad_of_equal_norms_is_a_longer_mean() -> None:
    rows = two_rows(0.3)
    close(direction("cagrad", rows, radius=0.4, rescale="none"), 1.4 * rows.mean(0))
    close(direction("cagrad", rows, radius=0.4), 1.4 * rows.mean(0) / 1.16)
    close(direction("cagrad", rows, radius=0.4, rescale="linear"), rows.mean(0))


def test_gradvac_with_still_targets_is_pcgrad() -> None:
    rows = jacobian("conflict", 5, 30)
    close(direction("gradvac", rows, decay=0.0), direction("pcgrad", rows))


def test_imtl_g_is_edm_for_two_tasks() -> None:
    rows = jacobian("random", 2, 30)
    close(direction("imtl_g", rows), direction("edm", rows))
    length = rows.norm(dim=1)
    close(weights("imtl_g", rows), length.flip(0) / length.sum())


def test_three_methods_bisect_two_tasks() -> None:
    rows = two_rows(-0.4, 1.0, 7.0)
    bisector = (rows / rows.norm(dim=1, keepdim=True)).sum(0)
    for name in ("nash_mtl", "imtl_g", "edm"):
        assert cosine(direction(name, rows), bisector) == pytest.approx(1.0, abs=1e-12)
    close(direction("mgda", rows, normalise="l2"), 0.5 * bisector)


def test_rgb_without_inner_steps_is_the_mean_of_units() -> None:
    rows = jacobian("scale", 5, 30)
    close(direction("rgb", rows, inner_steps=0), (rows / rows.norm(dim=1, keepdim=True)).mean(0))


@pytest.mark.parametrize("name", ["pcgrad", "gradvac", "ri_pcgrad", "graddrop"])
def test_surgery_leaves_agreeing_gradients_alone(name: str) -> None:
    rows = jacobian("random", 4, 30).abs()
    close(direction(name, rows), rows.sum(0))


def test_upgrad_leaves_agreeing_gradients_alone() -> None:
    rows = jacobian("random", 4, 30).abs()
    close(direction("upgrad", rows), rows.mean(0))


def test_aligned_mtl_of_orthogonal_equal_rows_is_the_sum() -> None:
    rows = 3.0 * torch.linalg.qr(jacobian("random", 30, 4)).Q.T.contiguous()
    close(direction("aligned_mtl", rows), rows.sum(0))


def test_aligned_mtl_of_orthogonal_rows_scales_down_to_the_shortest() -> None:
    length = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)
    rows = length[:, None] * torch.linalg.qr(jacobian("random", 20, 3)).Q.T
    close(weights("aligned_mtl", rows), 1.0 / length)


INFORMED = [n for n, method in METHODS.items() if method.informed != "refused"]
REFUSED = [n for n, method in METHODS.items() if method.informed == "refused"]


@pytest.mark.parametrize("name", INFORMED)
def test_informed_method_at_equal_performance_is_its_base_exactly(name: str) -> None:
    base, informed = make(name, 4, 12), make(name, 4, 12, pi={})
    for seed in range(12):
        rows = jacobian("random", 4, 12, seed)
        given = signals(rows, seed, performance=torch.full((4,), 0.3))
        assert torch.equal(base.aggregate(given), informed.aggregate(given))
        assert informed.metrics["omega"].tolist() == [1.0] * 4  # type: ignore[union-attr]


@pytest.mark.parametrize("name", INFORMED)
def test_informed_method_reads_performance(name: str) -> None:
    base, informed = make(name, 4, 12), make(name, 4, 12, pi={})
    given = signals(jacobian("random", 4, 12))
    assert not torch.allclose(base.aggregate(given), informed.aggregate(given), rtol=1e-3)


LAYOUTS = ("random", "scale", "orthogonal", "aligned", "conflict", "duplicate", "low_rank")


def laid_out(layout: str, m: int, n: int, seed: int) -> Tensor:
    """Rows `[m, n]`, n at least m."""
    if layout != "orthogonal":
        return jacobian(layout, m, n, seed)
    length = torch.randn(m, 1, generator=torch.Generator().manual_seed(seed)).double().exp()
    return length * torch.linalg.qr(jacobian("random", n, m, seed)).Q.T


@pytest.mark.parametrize("name", INFORMED)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    layout=st.sampled_from(LAYOUTS),
    m=st.integers(2, 5),
    more=st.integers(0, 20),
    seed=st.integers(0, 10**6),
    behind=st.floats(0.01, 1.0),
    odd_one_lags=st.booleans(),
)
def test_informed_update_turns_to_the_task_that_lags(
    name: str, layout: str, m: int, more: int, seed: int, behind: float, odd_one_lags: bool
) -> None:
    """One task lags behind the others and its cosine does not fall; or leads, and it does not rise."""
    success = torch.full((m,), 1.0 - behind if not odd_one_lags else 1.0, dtype=torch.float64)
    success[-1] = 1.0 - behind if odd_one_lags else 1.0
    options = {"weights": [1.0 + i for i in range(m)]} if name == "fixed" else {}
    base = make(name, m, m + more, **options)
    informed = make(name, m, m + more, pi={}, **options)
    sign = 1.0 if odd_one_lags else -1.0
    for step in range(3):  # methods with a memory have one by now
        rows = laid_out(layout, m, m + more, seed + step)
        facts = signals(rows, seed + step, performance=success)
        before, after = base.aggregate(facts), informed.aggregate(facts)
        omega = informed.metrics["omega"]
        assert isinstance(omega, Tensor)
        assert sign * float(omega[-1] - omega[0]) > 0.0
        failed = [method.metrics.get("solver_failures", 0.0) for method in (base, informed)]
        if any(failed) or min(before.norm(), after.norm()) < 1e-6 * rows.norm(dim=1).min():
            continue  # a stationary point has no direction
        turned = cosine(after, rows[-1]) - cosine(before, rows[-1])
        assert sign * turned > -1e-6, (layout, turned)


@pytest.mark.parametrize("name", INFORMED)
def test_informed_update_does_turn(name: str) -> None:
    """A layer without effect would not fall either."""
    for kind in ("orthogonal", "conflict"):
        rows = laid_out(kind, 2, 12, 0)
        facts = signals(rows, performance=torch.tensor([0.2, 0.9]))
        before = make(name, 2, 12).aggregate(facts)
        after = make(name, 2, 12, pi={}).aggregate(facts)
        assert cosine(after, rows[0]) > cosine(before, rows[0]) + 1e-3, kind


@pytest.mark.parametrize("name", [n for n in INFORMED if METHODS[n].informed == "weights"])
@pytest.mark.parametrize("kind", ["random", "scale", "aligned", "conflict", "low_rank"])
def test_weights_that_omega_multiplies_are_never_negative(name: str, kind: str) -> None:
    method = make(name, 5, 12)
    assert isinstance(method, Weighting)
    for seed in range(20):
        assert (method.weights(signals(jacobian(kind, 5, 12, seed), seed)) >= 0.0).all()


@pytest.mark.parametrize("name", ["imtl_g", "imtl", "cdtt", "aligned_mtl"])
def test_weights_of_methods_refused_for_their_sign_can_be_negative(name: str) -> None:
    assert "may be negative" in METHODS[name].refusal
    method = make(name, 5, 12)
    assert isinstance(method, Weighting)
    draws = [
        method.weights(signals(jacobian(kind, 5, 12, seed), seed))
        for seed in range(20)
        for kind in ("random", "aligned", "scale")
    ]
    assert min(float(draw.min()) for draw in draws) < -1e-3


def test_min_norm_weights_of_informed_rows_would_favour_the_leading_task() -> None:
    """Why MGDA's weights come from the raw rows: two equal orthogonal rows, omega (4/3, 2/3)."""
    rows = two_rows(0.0)
    success = torch.tensor([0.0, 1.0])
    facts = Signals(jacobian=rows, performance=success)
    assert cosine(make("mgda", 2, 3).aggregate(facts), rows[0]) == pytest.approx(0.5**0.5)
    ours = make("mgda", 2, 3, pi={})
    assert cosine(ours.aggregate(facts), rows[0]) == pytest.approx(2 / 5**0.5)
    omega = ours.metrics["omega"]
    assert isinstance(omega, Tensor)
    close(omega, torch.tensor([4 / 3, 2 / 3], dtype=torch.float64))
    scaled = omega[:, None] * rows
    assert cosine(direction("mgda", scaled), rows[0]) == pytest.approx(1 / 5**0.5)


@pytest.mark.parametrize(
    ("name", "keeps"), [("mgda", False), ("upgrad", False), ("nash_mtl", True), ("fairgrad", True)]
)
def test_omega_times_weights_gives_up_that_no_task_gets_worse(name: str, keeps: bool) -> None:
    rows = two_rows(-0.9)
    facts = Signals(jacobian=rows, performance=torch.tensor([0.0, 1.0]))
    assert (rows @ make(name, 2, 3).aggregate(facts) > 0.0).all()
    assert bool((rows @ make(name, 2, 3, pi={}).aggregate(facts) > 0.0).all()) == keeps


@pytest.mark.parametrize("name", REFUSED)
def test_layer_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(ValueError, match="`pi` cannot inform") as error:
        make(name, 4, 12, pi={})
    assert METHODS[name].refusal in str(error.value)


# -- Scaling laws -------------------------------------------------------------------------------

EXPONENT = {"nash_mtl": 0.0, "rgb": 0.0, "pivrg": -1 / 3, "fairgrad": -1 / 3}
NOT_HOMOGENEOUS = {"cdtt", "moco"}


@pytest.mark.parametrize("name", [n for n in METHODS if n not in NOT_HOMOGENEOUS])
def test_direction_scales_as_documented(name: str) -> None:
    options = {"threshold": 1.1} if name == "sam_gs" else {}
    rows = jacobian("random", 4, 20)
    expected = 1000.0 ** EXPONENT.get(name, 1.0) * direction(name, rows, **options)
    close(direction(name, 1000.0 * rows, **options), expected, 1e-6)


def test_momentum_branch_of_sam_gs_is_quadratic() -> None:
    rows = jacobian("random", 4, 20)
    expected = 1e6 * direction("sam_gs", rows, threshold=0.0)
    close(direction("sam_gs", 1000.0 * rows, threshold=0.0), expected, 1e-5)


INVARIANT = {
    "nash_mtl": {},
    "imtl_g": {},
    "edm": {},
    "imtl": {},
    "rgb": {},
    "sam_gs": {"threshold": 1.1},
}


@pytest.mark.parametrize("name", list(INVARIANT))
def test_scaling_a_task_leaves_the_direction(name: str) -> None:
    rows = jacobian("aligned", 4, 20)
    scaled = rows * torch.tensor([[1.0], [10.0], [0.01], [3.0]], dtype=torch.float64)
    options = INVARIANT[name]
    agreement = cosine(direction(name, rows, **options), direction(name, scaled, **options))
    assert agreement == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("name", ["ls", "mgda", "pivrg", "cagrad", "fairgrad", "upgrad"])
def test_scaling_a_task_turns_the_direction(name: str) -> None:
    rows = jacobian("random", 4, 20)
    scaled = rows * torch.tensor([[1.0], [10.0], [0.1], [3.0]], dtype=torch.float64)
    assert cosine(direction(name, rows), direction(name, scaled)) < 0.99


@pytest.mark.parametrize("kind", ["random", "scale", "aligned"])
def test_nash_has_the_length_of_the_number_of_tasks(kind: str) -> None:
    rows = jacobian(kind, 6, 40)
    assert float(direction("nash_mtl", rows).square().sum()) == pytest.approx(6.0, rel=1e-8)


def test_pivrg_of_orthogonal_rows_is_closed_form() -> None:
    length = torch.tensor([1.0, 4.0, 0.1], dtype=torch.float64)
    rows = length[:, None] * torch.linalg.qr(jacobian("random", 20, 3)).Q.T
    method = build("pivrg", 3, 20)
    assert isinstance(method, Weighting)
    solution = method.weights(signals(rows))
    omega = method.metrics["omega"]
    assert isinstance(omega, Tensor)
    close(solution, omega ** (1 / 3) * length ** (-4 / 3))


def test_nash_of_two_tasks_is_closed_form() -> None:
    rows = two_rows(-0.7, 3.0, 0.01)
    expected = 1.0 / (rows.norm(dim=1) * math.sqrt(0.3))
    close(weights("nash_mtl", rows), expected)


# -- Symmetry -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    sorted({*GRADIENT_WEIGHTINGS, "famo", "go4align", "gradnorm", "ls", "si", "uw", "imtl_l"}),
)
@pytest.mark.parametrize("cos", [-0.6, 0.0, 0.5])
def test_two_tasks_of_equal_norm_and_loss_weigh_the_same(name: str, cos: float) -> None:
    rows = two_rows(cos, 2.0, 2.0)
    method = build(name, 2, 3)
    assert isinstance(method, Weighting)
    given = Signals(jacobian=rows, losses=torch.full((2,), 0.7), performance=torch.full((2,), 0.5))
    first, second = method.weights(given).tolist()
    assert first == pytest.approx(second, rel=1e-9)
    if name == "cdtt":  # Gama and Grassi, Proposition 5
        close(rows.T @ torch.tensor([first, second], dtype=torch.float64), rows.mean(0))


# -- Pareto-stationary points -------------------------------------------------------------------


def test_opposed_pair_has_no_direction() -> None:
    rows = torch.tensor([[1.0, 2.0], [-1.0, -2.0]], dtype=torch.float64)
    for name in ("mgda", "pcgrad", "gradvac", "ls", "upgrad", "edm", "aligned_mtl"):
        assert direction(name, rows).abs().max() < 1e-6, name


@pytest.mark.parametrize("name", ["nash_mtl", "pivrg", "fairgrad", "imtl_g", "mgda", "cagrad"])
@pytest.mark.parametrize("m", [2, 3, 5])
def test_stationary_point_is_flagged_and_finite(name: str, m: int) -> None:
    rows = jacobian("random", m, 10)
    rows[-1] = -rows[:-1].sum(0)
    method = make(name, m, 10)
    result = method.aggregate(signals(rows))
    assert torch.isfinite(result).all()
    assert torch.isfinite(method.metrics["weights"]).all()  # type: ignore[arg-type]
    assert method.metrics["solver_failures"] == 1.0
    assert result.norm() < 1e-2 * rows.norm()


# -- Descent ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nash_mtl", "pivrg", "fairgrad", "mgda", "upgrad"])
@pytest.mark.parametrize("kind", ["random", "scale", "aligned", "conflict"])
def test_no_task_gets_worse(name: str, kind: str) -> None:
    for seed in range(5):
        rows = jacobian(kind, 5, 20, seed)
        gain = rows @ direction(name, rows)
        assert (gain > -1e-9 * rows.norm(dim=1) * direction(name, rows).norm()).all()
        if name != "upgrad":
            assert (gain > 0).all()


def test_pcgrad_can_hurt_one_of_three_tasks() -> None:
    hurt = 0
    for seed in range(50):
        rows = jacobian("conflict", 3, 3, seed)
        hurt += int((rows @ direction("pcgrad", rows) < -1e-9).any())
    assert hurt > 0  # so nothing may rely on the contrary


def test_mgda_gain_is_at_least_its_square() -> None:
    rows = jacobian("random", 6, 20)
    result = direction("mgda", rows)
    gain = rows @ result
    square = float(result @ result)
    assert gain.min() >= square * (1 - 1e-9)
    used = weights("mgda", rows) > 0
    close(gain[used], torch.full_like(gain[used], square))


def test_mgda_of_two_tasks_is_closed_form() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(50):
        rows = torch.randn(2, 3, generator=generator, dtype=torch.float64)
        m = rows @ rows.T
        share = float((m[1, 1] - m[0, 1]) / (m[0, 0] + m[1, 1] - 2 * m[0, 1]))
        share = min(1.0, max(0.0, share))
        close(weights("mgda", rows), torch.tensor([share, 1 - share], dtype=torch.float64), 1e-9)


def test_cagrad_stays_on_its_ball_and_beats_other_points_of_it() -> None:
    rows = jacobian("conflict", 4, 6)
    mean, radius = rows.mean(0), 0.5
    result = direction("cagrad", rows, radius=radius, rescale="none")
    reach = radius * float(mean.norm())
    assert float((result - mean).norm()) == pytest.approx(reach, rel=1e-9)
    assert float(result @ mean) >= (1 - radius) * float(mean @ mean) - 1e-12
    generator = torch.Generator().manual_seed(0)
    others = torch.randn(5000, 6, generator=generator, dtype=torch.float64)
    others = mean + reach * others / others.norm(dim=1, keepdim=True)
    assert float((rows @ result).min()) >= float((others @ rows.T).min(1).values.max())


def test_pivrg_minimises_its_objective_on_its_ball() -> None:
    """Equation 4: sum_i sqrt(omega_i) (g_i . d)^(1 - 2) over the ball of its own length."""
    rows = jacobian("random", 4, 6)
    result = direction("pivrg", rows)
    generator = torch.Generator().manual_seed(0)

    def variance(d: Tensor) -> Tensor:
        gain = d @ rows.T
        return torch.where((gain > 0).all(-1), (1.0 / gain).sum(-1), torch.inf)

    noise = 0.05 * torch.randn(5000, 6, generator=generator, dtype=torch.float64)
    others = result + noise * result.norm()
    others = others * result.norm() / others.norm(dim=1, keepdim=True)
    assert float(variance(result[None])[0]) <= float(variance(others).min())


def test_imtl_g_projects_equally() -> None:
    rows = jacobian("aligned", 5, 30)  # some weights are negative, as in the paper
    units = rows / rows.norm(dim=1, keepdim=True)
    projections = units @ direction("imtl_g", rows)
    close(projections, projections.mean().expand(5))


def test_aligned_rows_are_orthogonal_and_equal() -> None:
    rows = jacobian("random", 4, 20)
    values, vectors = torch.linalg.eigh(rows @ rows.T)
    transform = values[0].sqrt() * (vectors / values.sqrt()) @ vectors.T
    aligned = transform @ rows
    close(aligned @ aligned.T, values[0] * torch.eye(4, dtype=torch.float64))
    close(direction("aligned_mtl", rows), aligned.sum(0))
    close(direction("aligned_mtl", rows, reduction="mean"), aligned.mean(0))


# -- Random methods -----------------------------------------------------------------------------


def test_graddrop_is_the_sum_on_average_and_never_mixes_signs() -> None:
    rows = jacobian("random", 3, 8)
    method = build("graddrop", 3, 8)
    draws = torch.stack([method.aggregate(signals(rows)) for _ in range(1500)])
    spread = draws.std(0) / math.sqrt(len(draws))
    assert ((draws.mean(0) - rows.sum(0)).abs() < 5 * spread + 1e-12).all()
    positive, negative = rows.clamp_min(0).sum(0), rows.clamp_max(0).sum(0)
    either = torch.isclose(draws, positive) | torch.isclose(draws, negative)
    assert either.all()


def test_graddrop_with_a_full_leak_is_the_sum() -> None:
    rows = jacobian("conflict", 3, 8)
    close(direction("graddrop", rows, leak=1.0), rows.sum(0))


@pytest.mark.parametrize("kind", ["normal", "dirichlet"])
def test_rlw_draws_weights_of_mean_one_over_m(kind: str) -> None:
    """A Dirichlet(1, 1, 1, 1) entry has variance 3 / 80; that of normals is drawn here again."""
    generator = np.random.default_rng(0)
    reference = np.exp(generator.standard_normal((4000, 4)))
    if kind == "dirichlet":
        reference = generator.dirichlet(np.ones(4), 4000)
    reference /= reference.sum(1, keepdims=True)
    method = build("rlw", 4, 1, distribution=kind)
    assert isinstance(method, Weighting)
    given = signals(jacobian("random", 4, 1))
    draws = torch.stack([method.weights(given) for _ in range(1500)])
    close(draws.sum(1), torch.ones(1500))
    torch.testing.assert_close(
        draws.mean(0), torch.full((4,), 0.25, dtype=draws.dtype), atol=0.02, rtol=0
    )
    assert float(draws.var(0).mean()) == pytest.approx(reference.var(0).mean(), rel=0.15)


def test_pcgrad_meets_every_order() -> None:
    method = build("pcgrad", 3, 3)
    assert isinstance(method, Weighting)
    given = signals(jacobian("conflict", 3, 3))
    seen = {tuple(np.round(method.weights(given).tolist(), 9)) for _ in range(200)}
    assert len(seen) > 2


def test_ri_pcgrad_keeps_norms_of_rows() -> None:
    rows = two_rows(-0.5, 2.0, 3.0)
    first = rows[0] - (rows[0] @ rows[1]) / (rows[1] @ rows[1]) * rows[1]
    second = rows[1] - (rows[0] @ rows[1]) / (rows[0] @ rows[0]) * rows[0]
    expected = 2.0 * first / first.norm() + 3.0 * second / second.norm()
    close(direction("ri_pcgrad", rows), expected)


def test_pcgrad_of_two_tasks_is_closed_form() -> None:
    rows = two_rows(-0.5, 2.0, 3.0)
    m = rows @ rows.T
    expected = torch.stack([1 - m[0, 1] / m[0, 0], 1 - m[0, 1] / m[1, 1]])
    close(weights("pcgrad", rows), expected)
    assert (rows @ direction("pcgrad", rows) >= 0).all()


def test_upgrad_matches_projections_by_brute_force() -> None:
    """The projection on the dual cone leaves a min-norm problem over each active face."""
    rows = jacobian("conflict", 3, 5)
    expected = torch.zeros(5, dtype=torch.float64)
    for row in rows:
        best = None
        for face in range(8):
            active = [j for j in range(3) if face >> j & 1]
            part = rows[active]
            point = row - part.T @ torch.linalg.pinv(part.T) @ row if active else row
            if (rows @ point > -1e-9).all() and (
                best is None or (point - row).norm() < (best - row).norm()
            ):
                best = point
        assert best is not None
        expected += best / 3
    close(direction("upgrad", rows), expected, 1e-6)


def test_min_norm_point_ignores_duplicates() -> None:
    rows = jacobian("random", 4, 20)
    twice = torch.cat([rows, rows[:2]])
    close(direction("mgda", twice), direction("mgda", rows))
    assert min_norm_point((twice @ twice.T).numpy()).residual < 1e-9
