"""What holds for every method, over all of METHODS."""

from __future__ import annotations

import io
import re

import hypothesis.strategies as st
import pytest
import torch
from balancing_cases import GRADIENT_WEIGHTINGS, KINDS, STOCHASTIC, jacobian, make, signals, step
from hypothesis import given, settings

from mtrl.balancing import METHODS, Aggregator, Needs, Signals, Weighting, method_options
from mtrl.balancing.base import GRADIENTS

every_method = pytest.mark.parametrize("name", list(METHODS))


@every_method
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_direction_is_finite_at_any_norm_and_dtype(
    name: str, dtype: torch.dtype, scale: float
) -> None:
    method = make(name, 4, 12)
    for seed, kind in enumerate(KINDS):
        rows = (scale * jacobian(kind, 4, 12, seed)).to(dtype)
        direction = step(method, signals(rows, seed))
        assert direction.shape == (12,)
        assert direction.dtype == dtype
        assert torch.isfinite(direction).all(), kind
        assert not direction.requires_grad


@every_method
@settings(max_examples=6, deadline=None)
@given(
    kind=st.sampled_from(KINDS),
    m=st.integers(2, 6),
    n=st.integers(1, 8),
    seed=st.integers(0, 10**6),
    exponents=st.lists(st.sampled_from([-9, -3, 0, 3, 9]), min_size=6, max_size=6),
    zero=st.integers(0, 5),
)
def test_adversarial_rows_never_give_nan(
    name: str, kind: str, m: int, n: int, seed: int, exponents: list[int], zero: int
) -> None:
    rows = jacobian(kind, m, n, seed)
    rows *= 10.0 ** torch.tensor(exponents[:m], dtype=torch.float64)[:, None]
    if zero < m:
        rows[zero] = 0.0
    direction = step(make(name, m, n), signals(rows, seed))
    assert torch.isfinite(direction).all()


@every_method
def test_one_task_is_returned_unchanged(name: str) -> None:
    rows = jacobian("random", 1, 7)
    method = make(name, 1, 7)
    assert torch.equal(step(method, signals(rows)), rows[0])
    if isinstance(method, Weighting):
        assert method.weights(signals(rows)).tolist() == [1.0]


@every_method
def test_no_gradient_at_all_gives_no_direction(name: str) -> None:
    method = make(name, 3, 5)
    for _ in range(2):
        assert step(method, signals(torch.zeros(3, 5))).abs().max() == 0.0


@pytest.mark.parametrize("name", GRADIENT_WEIGHTINGS)
@pytest.mark.parametrize("kind", ["random", "scale", "aligned"])
def test_task_without_gradient_has_no_weight(name: str, kind: str) -> None:
    rows = jacobian(kind, 4, 10)
    rows[2] = 0.0
    method = make(name, 4, 10)
    assert isinstance(method, Weighting)
    weights = method.weights(signals(rows))
    assert weights[2] == 0.0
    assert torch.isfinite(weights).all()
    assert weights.abs().max() > 0.0


@every_method
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_row_that_is_not_finite_is_left_out_and_counted(name: str, bad: float) -> None:
    rows = jacobian("random", 4, 10)
    without = rows.clone()
    without[1] = 0.0
    rows[1, 3] = bad
    method = make(name, 4, 10)
    direction = step(method, signals(rows))
    assert method.metrics["masked_tasks"] == 1
    expected = step(make(name, 4, 10), signals(without))
    torch.testing.assert_close(direction, expected, rtol=1e-12, atol=1e-12)
    if isinstance(method, Weighting):  # the weight scales the task's head, too
        assert make(name, 4, 10).weights(signals(rows))[1] == 0.0


@every_method
def test_loss_that_is_not_finite_leaves_state_and_direction_finite(name: str) -> None:
    rows = jacobian("random", 3, 8)
    method = make(name, 3, 8)
    losses = torch.tensor([1.0, torch.nan, torch.inf], dtype=torch.float64)
    given = signals(rows, losses=losses)
    for _ in range(3):
        assert torch.isfinite(method.aggregate(given)).all()
        method.observe_after(losses)
    for key, value in method.state_dict().items():
        assert torch.isfinite(value).all(), key


@pytest.mark.parametrize("name", [n for n in METHODS if n not in STOCHASTIC])
@pytest.mark.parametrize("kind", ["random", "aligned", "conflict", "scale"])
def test_order_of_tasks_does_not_matter(name: str, kind: str) -> None:
    order = torch.tensor([2, 0, 3, 1])
    options = {"weights": [1.0, 2.0, 3.0, 4.0]} if name == "fixed" else {}
    permuted = {"weights": [3.0, 1.0, 4.0, 2.0]} if name == "fixed" else {}
    first, second = make(name, 4, 30, **options), make(name, 4, 30, **permuted)
    for seed in range(4):
        given = signals(jacobian(kind, 4, 30, seed), seed)
        moved = Signals(
            jacobian=given.gradients.matrix()[order],
            losses=given.losses[order],
            performance=given.performance.values[order],
        )
        torch.testing.assert_close(step(first, given), step(second, moved), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["pcgrad", "ri_pcgrad", "gradvac", "graddrop"])
def test_order_of_two_tasks_does_not_matter_to_random_methods(name: str) -> None:
    first, second = make(name, 2, 30), make(name, 2, 30)
    for seed in range(4):
        rows = jacobian("random", 2, 30, seed)
        torch.testing.assert_close(
            first.aggregate(signals(rows)),
            second.aggregate(signals(rows.flip(0))),
            rtol=1e-9,
            atol=1e-12,
        )


@every_method
def test_save_and_load_in_mid_run_is_bit_identical(name: str) -> None:
    straight = make(name, 4, 9, seed=3)
    for seed in range(5):
        step(straight, signals(jacobian("random", 4, 9, seed, torch.float32), seed))
    file = io.BytesIO()
    torch.save(straight.state_dict(), file)
    file.seek(0)
    resumed = make(name, 4, 9, seed=99)
    resumed.load_state_dict(torch.load(file, weights_only=True), strict=True)
    for seed in range(5, 20):
        given = signals(jacobian("random", 4, 9, seed, torch.float32), seed)
        assert torch.equal(step(straight, given), step(resumed, given)), seed
    for key, value in straight.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


@every_method
def test_state_has_its_final_shape_from_the_start(name: str) -> None:
    method = make(name, 3, 6)
    before = {key: (value.shape, value.dtype) for key, value in method.state_dict().items()}
    for seed in range(3):
        step(method, signals(jacobian("random", 3, 6, seed, torch.float32), seed))
    after = {key: (value.shape, value.dtype) for key, value in method.state_dict().items()}
    assert before == after


@every_method
def test_state_advances_once_per_call(name: str) -> None:
    method, twin = make(name, 3, 6), make(name, 3, 6)
    for seed in range(12):
        given = signals(jacobian("random", 3, 6, seed), seed)
        direction = method.aggregate(given)
        if isinstance(twin, Weighting):
            weights = twin.weights(given)
            torch.testing.assert_close(given.gradients.combine(weights), direction)
        else:
            twin.balance(given)
        for key, value in method.state_dict().items():
            assert torch.equal(value, twin.state_dict()[key]), key
    counters = [v for k, v in method.state_dict().items() if k.split(".")[-1] in ("steps", "calls")]
    if name != "famo":  # its optimiser advances with the losses after the step
        assert all(counter == 12 for counter in counters)


@every_method
def test_seed_decides_random_methods_alone(name: str) -> None:
    given = signals(jacobian("conflict", 5, 20))
    same, other = make(name, 5, 20, seed=0), make(name, 5, 20, seed=1)
    expected = make(name, 5, 20, seed=0)
    runs = [[method.aggregate(given) for _ in range(5)] for method in (same, expected, other)]
    assert all(torch.equal(a, b) for a, b in zip(runs[0], runs[1], strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(runs[0], runs[2], strict=True)) == (
        name in STOCHASTIC
    )


@every_method
def test_gramian_alone_is_enough_for_weights(name: str) -> None:
    given = signals(jacobian("random", 4, 9))
    method, twin = make(name, 4, 9), make(name, 4, 9)
    if not isinstance(method, Weighting) or not isinstance(twin, Weighting):
        assert method.needs & (Needs.PRODUCTS | Needs.MATRIX)
        return
    alone = Signals(gramian=given.gramian, losses=given.losses, performance=given.performance)
    assert torch.equal(method.weights(given), twin.weights(alone))


@every_method
def test_only_declared_signals_are_read(name: str) -> None:
    rows = jacobian("random", 4, 9)
    method = make(name, 4, 9)
    full = signals(rows)
    given: dict[str, object] = {}
    if method.needs & GRADIENTS:
        given["jacobian"] = rows
    if Needs.LOSSES in method.needs or not given:
        given["losses"] = full.losses
    if Needs.PERFORMANCE in method.needs:
        given["performance"] = full.performance
    some = Signals(**given)  # type: ignore[arg-type]
    if isinstance(method, Weighting):
        assert torch.isfinite(method.weights(some)).all()
    else:
        assert torch.isfinite(method.aggregate(some)).all()


CAPTURABLE = [name for name, method in METHODS.items() if method.capturable]
ON_DEVICE: dict[str, dict[str, object]] = {
    name: {"solver": "device"} for name in ("pivrg", "nash_mtl", "fairgrad")
}


@pytest.mark.parametrize(
    ("name", "options"),
    [*((name, {}) for name in CAPTURABLE), *ON_DEVICE.items(), ("rgb", {"adaptive": True})],
)
def test_capturable_methods_never_look_from_the_host(name: str, options: dict[str, object]) -> None:
    """Tensors on the meta device have no values: any look at one raises."""
    method = make(name, 4, 9, **options)
    assert method.capturable
    method.to("meta")
    given = Signals(
        jacobian=torch.empty(4, 9, device="meta"),
        losses=torch.empty(4, device="meta"),
        performance=torch.empty(4, device="meta"),
    )
    direction = method.balance(given)
    assert [block.shape for block in direction.blocks] == [(9,)]
    method.observe_after(torch.empty(4, device="meta"))


@every_method
def test_class_says_where_it_comes_from_and_what_it_costs(name: str) -> None:
    method = METHODS[name]
    assert issubclass(method, Aggregator)
    assert isinstance(method.needs, Needs)
    assert method.paper
    text = method.__doc__ or ""
    for word in ("Source:", "State:", "Scale:", "Cost:"):
        assert word in text, word
    for option in method_options(name):
        assert re.search(rf"^\s+{option}: ", text, re.MULTILINE), f"{option} is not documented"
    if method.informed == "refused":
        assert method.refusal


@every_method
def test_paper_is_named_by_its_full_title_with_a_link(name: str) -> None:
    """In the fact that `mtrl methods` prints and in the docstring."""
    paper = METHODS[name].paper
    titles, links = re.findall(r'"(.+?)"', paper), re.findall(r"https://\S+?(?=;|$)", paper)
    assert titles and len(links) == len(titles)
    text = " ".join((METHODS[name].__doc__ or "").split())
    for title, link in zip(titles, links, strict=True):
        assert f'"{title}"' in text
        assert link in text


def test_pivrg_s_values_are_those_of_released_code() -> None:
    """The paper prints neither tau* nor s."""
    text = METHODS["pivrg"].__doc__ or ""
    for option in ("min_temperature", "bound"):
        (said,) = re.findall(rf"^        {option}: (.*?)(?=^        \w+: )", text, re.M | re.S)
        assert "paper uses" not in " ".join(said.split())
        assert "released code uses" in " ".join(said.split())
