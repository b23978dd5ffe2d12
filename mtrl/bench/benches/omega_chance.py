"""Simulate with known success rates how much of the spread of PIVRG's omega is chance.

Ten tasks with true rates p run n episodes each. The code of a training computes omega from the
estimated rates, and this is compared with omega of the true rates. There are three estimates: the plain
rate of 20 episodes (what training took before), the plain rate of 100 (`window_env_steps` of 500,000
with ten tasks of 500 steps), and the rate of 100 under the prior that tasks share.

- `error` is the root mean square of omega minus the true omega, over tasks and draws.
- `spread` is the root mean square of omega minus 1.
- `chance` is error squared over spread squared, the share of omega's spread that is wrong.
- `median ratio` is of the largest omega over the smallest, `at the bound` how often that is s = 2.

    mtrl bench omega --picture results/omega.png --json >results/omega.json
    mtrl bench omega --draws 200
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from mtrl.balancing import Performance
from mtrl.balancing.omega import performance_weights
from mtrl.bench.bench_options import Seeded, option
from mtrl.bench.text_table import text_table
from mtrl.rl.success_rate import Smoothing, success_rates

Array = NDArray[np.float64]
TASKS = 10


class Estimate(NamedTuple):
    """A way to estimate success rates."""

    label: str
    episodes: int
    smoothing: Smoothing


ESTIMATES = [
    Estimate("20 episodes, plain (before)", 20, "none"),
    Estimate("100 episodes, plain", 100, "none"),
    Estimate("100 episodes, shared prior (now)", 100, "shared_prior"),
]
EQUAL = [0.02, 0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98]
"""True rates of ten equal tasks."""

LAGGING = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9]
"""True rates of one task beside nine at 0.9."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(Seeded):
    """Options of `mtrl bench omega`."""

    draws: int = option(2000, "of each situation")
    picture: Path | None = option(None, "file to draw the curves into", metavar="FILE")


def measure(options: Options) -> dict[str, Any]:
    """A row per situation and estimate, and the curves of the picture."""
    rng, draws = np.random.default_rng(options.seed), options.draws
    rows = []
    for name, draw in situations(rng).items():
        true = draw(draws)
        for estimate in ESTIMATES:
            found = describe(simulate(true, estimate, rng), omegas(true))
            rows.append({"tasks": name, "estimate": estimate.label, **found})
    equal, behind = {}, {}
    for estimate in ESTIMATES:
        equal[estimate.label] = []
        for rate in EQUAL:
            omega = simulate(np.full((draws, TASKS), rate), estimate, rng)
            equal[estimate.label].append(band(omega.max(1) / omega.min(1)))
        behind[estimate.label] = [
            band(simulate(np.tile(lagging(rate), (draws, 1)), estimate, rng)[:, 0])
            for rate in LAGGING
        ]
    truth = [float(omegas(lagging(rate)[None])[0, 0]) for rate in LAGGING]
    result = {"rows": rows, "equal": equal, "lagging": behind, "lagging_true": truth}
    if options.picture:
        from mtrl.bench.benches.omega_picture import draw_picture  # matplotlib may be missing

        draw_picture(result, EQUAL, LAGGING, options.picture)
    return result


def show(result: dict[str, Any]) -> str:
    """A row per situation and estimate."""
    return text_table(result["rows"])


def situations(rng: np.random.Generator) -> dict[str, Callable[[int], Array]]:
    """Name -> a function that draws true rates `[draws, m]`."""
    return {
        "ten equal tasks, 0.9": lambda draws: np.full((draws, TASKS), 0.9),
        "ten equal tasks, 0.5": lambda draws: np.full((draws, TASKS), 0.5),
        "nine at 0.9, one at 0.7": lambda draws: np.tile(lagging(0.7), (draws, 1)),
        "rates from Beta(8, 2)": lambda draws: rng.beta(8, 2, (draws, TASKS)),
        "rates uniform in [0, 1]": lambda draws: rng.uniform(0, 1, (draws, TASKS)),
    }


def lagging(rate: float) -> Array:
    """True rates `[m]` of one task beside nine at 0.9."""
    return np.array([rate] + [0.9] * (TASKS - 1))


def simulate(true: Array, estimate: Estimate, rng: np.random.Generator) -> Array:
    """Omega of a training, `[draws, m]`, from true rates of the same shape."""
    successes = rng.binomial(estimate.episodes, true)
    episodes = np.full(true.shape, estimate.episodes)
    return omegas(success_rates(successes, episodes, estimate.smoothing))


def omegas(rates: Array) -> Array:
    """`[draws, m]` from rates of the same shape, with the default tau* = 10 and s = 2."""
    return np.stack([performance_weights(Performance(torch.from_numpy(r))).numpy() for r in rates])


def describe(omega: Array, true: Array) -> dict[str, float]:
    """The columns of the table, from omega and the true omega, both `[draws, m]`."""
    ratio = omega.max(1) / omega.min(1)
    error, spread = (np.sqrt(np.mean((omega - other) ** 2)) for other in (true, 1.0))
    return {
        "median ratio": float(np.median(ratio)),
        "at the bound": float(np.mean(ratio > 1.999)),
        "error": float(error),
        "spread": float(spread),
        "chance": float((error / spread) ** 2) if spread > 0 else 0.0,
    }


def band(values: Array) -> list[float]:
    """5 %, 50 % and 95 % quantiles."""
    return [float(q) for q in np.quantile(values, [0.05, 0.5, 0.95])]
