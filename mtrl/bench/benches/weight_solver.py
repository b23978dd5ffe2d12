"""Time and certify the power-barrier solver against the least squares that releases use.

Both solve PIVRG's equations `(M a)_i = sqrt(omega_i / a_i)` on the same matrices in the same run.

- `residual` is the largest relative violation `|a_i^(1/2) (M a)_i / omega_i^(1/2) - 1|` over all tasks
  and matrices. It is computed from the Gramian for each solver.
- `ours ms` is a single call per matrix, caches as they come.
- `speedup` is a ratio of CPU times per call as timeit takes them, the median over the matrices that
  scipy solves too. The solvers take turns on each matrix. A turn is short, five calls of ours or one of
  scipy's, and the best of `--rounds` turns counts, since clock rates wander within a run.

    mtrl bench solver
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy
import torch
from numpy.typing import NDArray
from scipy.optimize import least_squares

from mtrl.balancing.solvers import power_barrier, power_barrier_on_device
from mtrl.bench.bench_options import Seeded, option
from mtrl.bench.text_table import text_table

Array = NDArray[np.float64]
Solver = Callable[[Array, Array], tuple[Array, int]]
"""Gramian `[m, m]`, omega `[m]` -> weights `[m]`, iterations."""

KINDS = {
    "random": "norms exp(N(0, 1))",
    "aligned": "a common row plus 5 % noise",
    "conflicting": "rows that sum to a tenth of a random row",
    "tiny": "random rows times 1e-4",
    "scaled": "norms over 1e-3 .. 1e3",
}
NUM_PARAMETERS = 2000
CALLS = 5  # of ours in a turn
SECONDS = 1.0  # on a matrix, after which no turn begins


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Seeded):
    """Options of `mtrl bench solver`."""

    tasks: tuple[int, ...] = option((10, 40), "numbers of tasks")
    matrices: int = option(100, "of each kind for our solver")
    reference: int = option(10, "of them, for scipy, too")
    rounds: int = option(12, "most turns of each solver on a matrix")


def measure(options: Options) -> dict[str, Any]:
    """A record per kind of matrix and number of tasks, and the worst of them."""
    rng = np.random.default_rng(options.seed)
    records = []
    for m in options.tasks:
        for kind in KINDS:
            problems = [problem(kind, m, rng) for _ in range(options.matrices)]
            few = problems[: options.reference]
            records.append(
                {
                    "tasks": m,
                    "kind": kind,
                    "newton": single_calls(newton, problems),
                    "device_version_on_cpu": single_calls(on_device, few),
                    "scipy": single_calls(published, few),
                    "speedup": paired_speedup(newton, published, few, options.rounds),
                }
            )
    return {
        "kinds": KINDS,
        "parameters": NUM_PARAMETERS,
        "scipy": scipy.__version__,
        "speedup_min": min(record["speedup"] for record in records),
        "residual_max": max(record["newton"]["worst_residual"] for record in records),
        "results": records,
    }


def show(result: dict[str, Any]) -> str:
    """A row per kind of matrix and number of tasks."""
    return text_table(
        {
            "m and kind": f"{record['tasks']} {record['kind']}",
            "ours ms": record["newton"]["median_ms"],
            "cpu ms": record["newton"]["median_cpu_ms"],
            "p99 ms": record["newton"]["p99_ms"],
            "steps": record["newton"]["mean_iterations"],
            "residual": f"{record['newton']['worst_residual']:.1e}",
            "scipy ms": record["scipy"]["median_ms"],
            "its residual": f"{record['scipy']['worst_residual']:.1e}",
            "speedup": record["speedup"],
        }
        for record in result["results"]
    )


def problem(kind: str, m: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """A Gramian `[m, m]` of a kind, and omega `[m]`, whose mean is 1."""
    rows = gradients(kind, m, rng)
    omega = rng.uniform(0.7, 1.4, m)
    return rows @ rows.T, omega * m / omega.sum()


def gradients(kind: str, m: int, rng: np.random.Generator) -> Array:
    """Random task gradients `[m, n]` of one of `KINDS`."""
    rows = rng.standard_normal((m, NUM_PARAMETERS))
    if kind == "random":
        rows *= np.exp(rng.standard_normal((m, 1)))
    elif kind == "aligned":
        rows = rng.standard_normal(NUM_PARAMETERS) + 0.05 * rows
    elif kind == "conflicting":
        rows[-1] = 0.1 * rows[-1] - rows[:-1].sum(0)
    elif kind == "tiny":
        rows *= 1e-4
    elif kind == "scaled":
        rows *= 10.0 ** rng.uniform(-3, 3, (m, 1))
    return rows


def published(gramian: Array, omega: Array) -> tuple[Array, int]:
    """Least squares, as released code solves the equations."""
    m = len(gramian)
    result = least_squares(
        lambda a: gramian @ a - np.sqrt(omega / a), np.full(m, 1.0 / m), bounds=(0, np.inf)
    )
    return result.x, int(result.nfev)


def newton(gramian: Array, omega: Array) -> tuple[Array, int]:
    """Our solver on the host."""
    solution = power_barrier(gramian, np.sqrt(omega), 0.5)
    return solution.weights, solution.iterations


def on_device(gramian: Array, omega: Array) -> tuple[Array, int]:
    """Our solver of fixed shape, here on the CPU."""
    weights, _ = power_barrier_on_device(
        torch.from_numpy(gramian), torch.from_numpy(omega).sqrt(), 0.5
    )
    return weights.numpy(), 15


def single_calls(solve: Solver, problems: Sequence[tuple[Array, Array]]) -> dict[str, float]:
    """Times, iterations and the worst residual of one call per problem."""
    times, processor, iterations, worst = [], [], [], 0.0
    solve(*problems[0])  # warm
    for gramian, omega in problems:
        start, own = time.perf_counter(), time.thread_time()
        weights, steps = solve(gramian, omega)
        processor.append(1e3 * (time.thread_time() - own))
        times.append(1e3 * (time.perf_counter() - start))
        iterations.append(steps)
        worst = max(worst, residual(gramian, weights, omega))
    return {
        "median_ms": float(np.median(times)),
        "median_cpu_ms": float(np.median(processor)),
        "p99_ms": float(np.percentile(times, 99)),
        "mean_iterations": float(np.mean(iterations)),
        "max_iterations": float(max(iterations)),
        "worst_residual": worst,
    }


def residual(gramian: Array, weights: Array, omega: Array) -> float:
    """The largest relative violation of the equations."""
    with np.errstate(all="ignore"):
        return float(np.abs((gramian @ weights) * np.sqrt(weights / omega) - 1.0).max())


def paired_speedup(
    first: Solver, second: Solver, problems: Sequence[tuple[Array, Array]], rounds: int
) -> float:
    """The median over the problems of second's best time per call over first's."""
    ratios = []
    for matrix in problems:
        best, begin = [np.inf, np.inf], time.perf_counter()
        for _ in range(rounds):
            if time.perf_counter() - begin > SECONDS:
                break
            for side, (solve, calls) in enumerate(((first, CALLS), (second, 1))):
                start = time.thread_time()
                for _ in range(calls):
                    solve(*matrix)
                best[side] = min(best[side], (time.thread_time() - start) / calls)
        ratios.append(best[1] / best[0])
    return float(np.median(ratios))
