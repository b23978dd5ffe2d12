"""Gradient surgery in coefficient space: what PCGrad and GradVac do to rows, on cosines alone.

A projected gradient is a combination of the originals, so it is kept as its coefficients. Row i of
the matrices here belongs to task i's projected gradient, in units of its own norm; column j holds
the coefficient of the unit gradient of task j. All rows advance at once, one partner after another.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mtrl.balancing.gramian import cosines, norms


def project_conflicts(gramian: Tensor, order: Tensor) -> Tensor:
    """PCGrad's projected unit rows: coefficients `[m, m]` of the unit gradients.

    Args:
        gramian: `[m, m]` float64.
        order: `[m, m]`, row i the order in which task i meets the others (itself is skipped).
    """
    cosine = cosines(gramian)
    rows = _alive_identity(gramian)
    tasks = torch.arange(len(gramian), device=gramian.device)
    for column in order.unbind(1):
        partner = cosine.index_select(0, column)
        product = (rows * partner).sum(1)
        step = torch.where(column == tasks, 0.0, product.clamp_max(0.0))
        rows = rows.scatter_add(1, column[:, None], -step[:, None])
    return rows


def vaccinate(
    gramian: Tensor, order: Tensor, target: Tensor, decay: float
) -> tuple[Tensor, Tensor]:
    """GradVac's rows and the targets after the step: coefficients `[m, m]`, cosines `[m, m]`.

    Args:
        gramian: `[m, m]` float64.
        order: as in :func:`project_conflicts`.
        target: `[m, m]`, the cosine that row i should have with gradient j at least.
        decay: weight of the new cosine in the moving average of targets.
    """
    cosine = cosines(gramian)
    alive = norms(gramian) > 0
    rows = _alive_identity(gramian)
    tasks = torch.arange(len(gramian), device=gramian.device)
    for column in order.unbind(1):
        partner = cosine.index_select(0, column)
        length = ((rows @ cosine) * rows).sum(1).clamp_min(0.0).sqrt()
        valid = (column != tasks) & alive.index_select(0, column) & (length > 1e-12)
        phi = ((rows * partner).sum(1) / length.clamp_min(1e-300)).clamp(-1.0, 1.0)
        rho = target.gather(1, column[:, None])[:, 0].clamp(-1.0 + 1e-9, 1.0 - 1e-9)
        away = (1.0 - rho**2).sqrt()
        step = length * (rho * (1.0 - phi**2).sqrt() - phi * away) / away
        step = torch.where(valid & (phi < rho), step, 0.0)
        rows = rows.scatter_add(1, column[:, None], step[:, None])
        moved = torch.where(valid, decay * (phi - rho), 0.0)
        target = target.scatter_add(1, column[:, None], moved[:, None])
    return rows, target


def row_weights(gramian: Tensor, rows: Tensor) -> Tensor:
    """The weights `[m]` of the sum of the projected gradients, from coefficients of unit rows."""
    length = norms(gramian)
    total = length @ rows  # back from unit rows, and summed over them
    return torch.where(length > 0, total / length.clamp_min(1e-300), 0.0)


def _alive_identity(gramian: Tensor) -> Tensor:
    return torch.diag((norms(gramian) > 0).double())
