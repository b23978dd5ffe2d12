"""Gradients to try methods on, and how to build any method for them."""

from __future__ import annotations

import torch
from torch import Tensor

from mtrl.balancing import METHODS, Aggregator, Needs, Signals, Weighting, build

STOCHASTIC = {"rlw", "pcgrad", "ri_pcgrad", "gradvac", "graddrop"}
LEARNED_FROM_LOSSES = {"gradnorm"}  # reads norms, but its weights are learned: a zero row keeps one
KINDS = ("random", "scale", "aligned", "conflict", "duplicate", "opposed", "low_rank")

GRADIENT_WEIGHTINGS = [
    name
    for name, method in METHODS.items()
    if issubclass(method, Weighting)
    and Needs.GRAMIAN in method.needs
    and name not in LEARNED_FROM_LOSSES
]


def make(name: str, m: int, n: int, *, seed: int = 0, **options: object) -> Aggregator:
    """A method by name; `fixed` gets unequal weights and `dwa` short windows unless told."""
    if name == "dwa":
        options = {"window": 3} | options
    if name == "fixed" and "weights" not in options:
        options["weights"] = [1.0 + i for i in range(m)]
    return build(name, m, n, seed=seed, **options)


def jacobian(
    kind: str, m: int, n: int, seed: int = 0, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Rows `[m, n]` with a structure."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(m, n, generator=generator, dtype=torch.float64)
    if kind == "random":
        rows *= torch.randn(m, 1, generator=generator, dtype=torch.float64).exp()
    elif kind == "scale":
        rows *= 10.0 ** (6.0 * torch.rand(m, 1, generator=generator, dtype=torch.float64) - 3.0)
    elif kind == "aligned":
        rows = rows[:1] + 0.05 * rows
    elif kind == "conflict" and m > 1:
        rows[-1] = 0.1 * rows[-1] - rows[:-1].sum(0)
    elif kind == "duplicate" and m > 1:
        rows[1] = rows[0]
    elif kind == "opposed" and m > 1:
        rows[1] = -rows[0]
    elif kind == "low_rank":
        mix = torch.randn(m, 2, generator=generator, dtype=torch.float64)
        rows = mix @ rows[:2] if m > 1 else rows
    return rows.to(dtype)


def signals(rows: Tensor, seed: int = 0, **given: object) -> Signals:
    """Everything that a method may read, positive losses included."""
    m = len(rows)
    generator = torch.Generator().manual_seed(seed + 1000)
    losses = 0.5 + torch.rand(m, generator=generator, dtype=torch.float64)
    success = torch.linspace(0.1, 0.9, m, dtype=torch.float64)
    facts: dict[str, object] = {"jacobian": rows, "losses": losses, "performance": success}
    return Signals(**(facts | given))  # type: ignore[arg-type]


def step(method: Aggregator, given: Signals) -> Tensor:
    """One whole step: the direction, then the losses after it."""
    direction = method.aggregate(given)
    method.observe_after(0.9 * given.losses + 0.01)
    return direction
