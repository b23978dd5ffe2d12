"""Per-task gradients: three ways to the same numbers, and what is done with them."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from mtrl.balancing import TaskGradients, task_gradients
from mtrl.balancing.gradients import LossFunction, _piece_size

M, B, FEATURES, HIDDEN = 3, 5, 4, 6


class Problem:
    """A trunk with a layer norm, a head for each task, and inputs of each task's own or shared."""

    def __init__(self, *, shared_input: bool) -> None:
        torch.manual_seed(0)
        self.trunk = nn.Sequential(
            nn.Linear(FEATURES, HIDDEN), nn.LayerNorm(HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, HIDDEN)
        ).double()
        self.head = nn.Parameter(torch.randn(M, HIDDEN, dtype=torch.float64))
        inputs = torch.randn(M, B, FEATURES, dtype=torch.float64)
        self.inputs = inputs[:1].expand(M, -1, -1) if shared_input else inputs
        self.targets = torch.randn(M, B, dtype=torch.float64)
        self.shared = dict(self.trunk.named_parameters())

    def by_views(self, shared: Mapping[str, Tensor]) -> tuple[Tensor, str]:
        features = vmap(lambda p, x: functional_call(self.trunk, p, (x,)))(shared, self.inputs)
        return self._losses(features), "aux"

    def plain(self, shared: Mapping[str, Tensor]) -> tuple[Tensor, str]:
        features = functional_call(self.trunk, dict(shared), (self.inputs,))
        return self._losses(features), "aux"

    def _losses(self, features: Tensor) -> Tensor:
        outputs = torch.einsum("mbh,mh->mb", features, self.head)
        return (outputs - self.targets).square().mean(1)

    def expected(self) -> tuple[Tensor, list[Tensor], Tensor]:
        losses, _ = self.plain(self.shared)
        params = [*self.shared.values()]
        rows = [torch.autograd.grad(loss, params, retain_graph=True) for loss in losses]
        (head,) = torch.autograd.grad(losses.sum(), [self.head])
        return losses.detach(), [torch.stack(column) for column in zip(*rows, strict=True)], head


@pytest.mark.parametrize("shared_input", [False, True])
@pytest.mark.parametrize("mode", ["views", "batched", "loop"])
def test_modes_agree_with_one_backward_pass_per_task(mode: str, shared_input: bool) -> None:
    problem = Problem(shared_input=shared_input)
    loss_fn: LossFunction = problem.by_views if mode == "views" else problem.plain
    losses, aux, gradients, heads = task_gradients(
        loss_fn,
        problem.shared,
        [problem.head],
        M,
        mode=mode,  # type: ignore[arg-type]
    )
    expected_losses, expected_blocks, expected_head = problem.expected()
    assert aux == "aux"
    assert not losses.requires_grad
    torch.testing.assert_close(losses, expected_losses, rtol=1e-12, atol=1e-12)
    for block, expected in zip(gradients.blocks, expected_blocks, strict=True):
        torch.testing.assert_close(block, expected, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(heads[0], expected_head, rtol=1e-12, atol=1e-14)


def blocks(dtype: torch.dtype = torch.float64) -> TaskGradients:
    torch.manual_seed(1)
    return TaskGradients(
        [
            torch.randn(M, 2, 3, dtype=dtype),
            torch.randn(M, 3, 2, dtype=dtype).mT,
            torch.randn(M, 4, dtype=dtype),
        ]
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_gramian_is_that_of_the_matrix_and_symmetric(dtype: torch.dtype) -> None:
    gradients = blocks(dtype)
    matrix = gradients.matrix().double()
    gramian = gradients.gramian()
    assert gramian.dtype == torch.float64
    assert torch.equal(gramian, gramian.T)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(gramian, matrix @ matrix.T, rtol=tolerance, atol=tolerance)


def test_products_are_those_of_the_matrix() -> None:
    gradients = blocks()
    matrix = gradients.matrix()
    vector, weights = torch.randn(matrix.shape[1]).double(), torch.randn(M).double()
    torch.testing.assert_close(gradients.dot(vector), matrix @ vector)
    torch.testing.assert_close(gradients.combine(weights), weights @ matrix)
    parts = gradients.split(weights @ matrix)
    assert [part.shape for part in parts] == [block.shape[1:] for block in gradients.blocks]
    for part, expected in zip(parts, gradients.combine_blocks(weights), strict=True):
        torch.testing.assert_close(part, expected)


def test_masked_rows_are_zero_even_if_they_were_not_finite() -> None:
    gradients = blocks()
    gradients.blocks[0][1] = torch.nan
    masked = gradients.masked(torch.tensor([True, False, True])).matrix()
    assert masked[1].abs().max() == 0.0
    assert torch.equal(masked[0], gradients.matrix()[0])


@pytest.mark.parametrize(
    ("coordinates", "rest"),
    [(5, 0), (4096, 0), (5 * 2459, 0), (12_289, 1), (16_381, 4093)],  # the last two are primes
)
def test_gramian_in_pieces_is_exact_to_float32_rounding(coordinates: int, rest: int) -> None:
    assert coordinates % _piece_size(coordinates) == rest
    torch.manual_seed(0)
    rows = torch.randn(M, coordinates) + 1.0  # a product that is not the sum of cancelling terms
    expected = rows.double() @ rows.double().T
    found = TaskGradients([rows]).gramian()
    assert torch.equal(found, found.T)
    assert (found - expected).abs().max() < 1e-6 * expected.abs().max()
