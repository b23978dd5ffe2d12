"""100,000 random and adversarial gradients through every solver and every deterministic method.

A few minutes each, so marked slow: `pytest -m slow tests/property/test_many_matrices.py`.
`MTRL_MANY_MATRICES` sets another number.
"""

from __future__ import annotations

import collections
import os
from collections.abc import Callable

import numpy as np
import pytest
import torch
from balancing_cases import STOCHASTIC, make
from torch import Tensor

from mtrl.balancing import METHODS, Signals
from mtrl.balancing.solvers import (
    Solution,
    conflict_averse,
    dual_cone_weights,
    equal_projections,
    min_norm_point,
    power_barrier,
    unit_min_norm,
)

COUNT = int(os.environ.get("MTRL_MANY_MATRICES", "100000"))
PARAMETERS = 6


def batch(m: int, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """`[count, m, n]` rows and which of them are benign: independent, of similar norms."""
    generator = torch.Generator().manual_seed(seed)
    shape = (count, m, PARAMETERS)
    rows = torch.randn(shape, generator=generator, dtype=torch.float64)
    kind = torch.randint(0, 8, (count,), generator=generator)
    exponents = 24.0 * torch.rand(count, m, 1, generator=generator, dtype=torch.float64) - 12.0
    rows = torch.where((kind == 1)[:, None, None], rows * 10.0**exponents, rows)
    rows[kind == 2, -1] = -rows[kind == 2, :-1].sum(1)  # stationary
    rows[kind == 3, 1] = rows[kind == 3, 0]  # duplicate
    rows[kind == 4, 1] = -(1.0 + 1e-9) * rows[kind == 4, 0]  # opposed
    rows[kind == 5, -1] = 0.0
    rows[kind == 6] = rows[kind == 6, :1] * torch.linspace(-1.0, 1.0, m)[:, None]  # rank 1
    common = 10.0 ** (24.0 * torch.rand(count, 1, 1, generator=generator, dtype=torch.float64) - 12)
    rows = torch.where((kind == 7)[:, None, None], rows * common, rows)
    return rows, (kind == 0) | (kind == 7)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", [name for name in METHODS if name not in STOCHASTIC])
def test_no_matrix_gives_nan_and_every_fallback_is_counted(
    name: str,
) -> None:
    failures, benign_failures, total = 0.0, 0.0, 0
    for m in (2, 3, 4, 5):
        method = make(name, m, PARAMETERS)
        rows, benign = batch(m, COUNT // 4, seed=m)
        losses = torch.rand(len(rows), m, dtype=torch.float64) + 1e-6
        success = torch.rand(len(rows), m)
        finite = torch.ones((), dtype=torch.bool)
        for i in range(len(rows)):
            given = Signals(jacobian=rows[i], losses=losses[i], performance=success[i])
            direction = method.aggregate(given)
            finite &= torch.isfinite(direction).all()
            failed = float(method.metrics.get("solver_failures", 0.0))
            failures += failed
            benign_failures += failed * float(benign[i])
            total += 1
        assert finite
        for key, value in method.state_dict().items():
            assert torch.isfinite(value).all(), key
    print(
        f"{name}: {total} matrices, {failures:.0f} fallbacks, {benign_failures:.0f} on benign ones"
    )
    assert benign_failures <= 0.01 * total


SOLVERS: dict[str, Callable[[np.ndarray], Solution]] = {
    "power_barrier_half": lambda matrix: power_barrier(matrix, np.ones(len(matrix)), 0.5),
    "power_barrier_one": lambda matrix: power_barrier(matrix, np.ones(len(matrix)), 1.0),
    "min_norm_point": min_norm_point,
    "unit_min_norm": unit_min_norm,
    "dual_cone_weights": dual_cone_weights,
    "conflict_averse": lambda matrix: conflict_averse(matrix, 0.5),
    "equal_projections": lambda matrix: equal_projections(matrix, 10.0),
}


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", list(SOLVERS))
def test_no_matrix_breaks_a_solver(name: str) -> None:
    statuses: collections.Counter[str] = collections.Counter()
    uncertified = benign_failures = 0
    for m in (2, 3, 4, 5):
        rows, benign = batch(m, COUNT // 4, seed=10 + m)
        for gramian, easy in zip((rows @ rows.mT).numpy(), benign.tolist(), strict=True):
            solution = SOLVERS[name](gramian)
            assert np.isfinite(solution.weights).all()
            assert np.isfinite(solution.residual)
            statuses[solution.status] += 1
            uncertified += not solution.failed and solution.residual > 1e-3
            benign_failures += easy and solution.failed
    total = sum(statuses.values())
    print(
        f"{name}: {total} matrices, {dict(statuses)}, {uncertified} beyond 1e-3, "
        f"{benign_failures} failures on benign ones"
    )
    assert benign_failures <= 0.01 * total
    assert uncertified <= 0.01 * total
