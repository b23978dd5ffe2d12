"""How the authors' methods are fed with the frozen inputs, and what is taken from them.

Five repositories grew from nash-mtl and share its interface: `LINEAGE` holds their methods.
"""

from __future__ import annotations

import contextlib
import random
import signal
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from golden_inputs import Case
from torch import Tensor

from .repository import Load, Numbers, Recording
from .stand_ins import replaced, shuffle_by

LINEAGE = "methods/weight_methods.py"
KINDS = ("random", "conflict", "aligned")
ONE_STEP = [Case(kind, m, 1) for m in (3, 10) for kind in KINDS]
GRADIENT_STEPS = [Case(kind, m, 6) for m in (3, 10) for kind in ("random", "conflict")]
LOSS_STEPS = [Case("random", m, 12) for m in (3, 10)]


def tensor(values: np.ndarray) -> Tensor:
    """A float64 tensor of them."""
    return torch.tensor(values, dtype=torch.float64)


def trunk(rows: np.ndarray, losses: np.ndarray | None = None) -> tuple[Tensor, Tensor]:
    """A parameter vector at zero and losses of which `rows` are the gradients."""
    theta = torch.zeros(rows.shape[1], requires_grad=True)
    offset = torch.ones(len(rows)) if losses is None else tensor(losses)
    return theta, tensor(rows) @ theta + offset


def made(load: Load, recording: Recording, **settings: Any) -> Any:
    """Their method, as the trainers of the lineage make it."""
    module = load(recording.file.removesuffix(".py").replace("/", "."))
    return getattr(module, recording.name)(recording.case.tasks, "cpu", **settings)


def fed(feed: Callable[[Any, Case], Numbers]) -> Callable[[Load, Recording], Numbers]:
    """Computes a recording: their method is made with its settings and fed with its case."""

    def compute(load: Load, recording: Recording) -> Numbers:
        return feed(made(load, recording, **recording.settings), recording.case)

    return compute


def loss_weights(method: Any, case: Case, optimiser: Any = None) -> Numbers:
    """What a weighted loss weighs each loss with, step by step: its derivative."""
    weights = []
    for losses, after in zip(case.losses(), case.losses_after(), strict=True):
        given = tensor(losses).requires_grad_()
        total, _ = method.get_weighted_loss(losses=given, shared_parameters=None)
        if optimiser is not None:
            optimiser.zero_grad()
        total.backward()
        weights.append(given.grad)
        if optimiser is not None:
            optimiser.step()
        if hasattr(method, "update"):
            method.update(tensor(after))
    return {"weights": weights}


def overwritten(method: Any, case: Case, **given: Any) -> Numbers:
    """What `backward` leaves in `.grad` of the trunk, unclipped, step by step."""
    method.max_norm = 0.0
    directions, weights = [], []
    for rows in case.jacobians():
        theta, losses = trunk(rows)
        extra = method.backward(losses=losses, shared_parameters=[theta], **given)[1] or {}
        directions.append(theta.grad)
        if isinstance(extra.get("weights"), np.ndarray):
            weights.append(extra["weights"])
    return {"directions": directions} | ({"weights": weights} if weights else {})


def overwritten_in_order(method: Any, case: Case) -> Numbers:
    """The same for a method of one step that shuffles the tasks."""
    with replaced(random, "shuffle", shuffle_by(case.orders()[0])):
        return overwritten(method, case)


def weighed(method: Any, case: Case) -> Numbers:
    """The weights that a method reports for the gradients, step by step."""
    weights = []
    for rows, values in zip(case.jacobians(), case.losses(), strict=True):
        theta, losses = trunk(rows, values)
        with at_most(60):
            _, extra = method.get_weighted_loss(losses=losses, shared_parameters=[theta])
        weights.append(extra["weights"])
    return {"weights": weights}


@contextlib.contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Raise `TimeoutError` after that time: the released min-norm solvers never count their steps."""

    def stop(*_: object) -> None:
        raise TimeoutError

    previous = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
