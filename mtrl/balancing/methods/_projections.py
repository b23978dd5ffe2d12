"""The projections of PCGrad and GradVac, computed from the cosines of the gradients alone.

A projected gradient is a combination of the task gradients, so we store its coefficients. Row i of
the matrices here describes the projected gradient of task i, divided by the norm of g_i. Column j
holds the coefficient of the unit gradient of task j. Every step treats one partner for each row.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mtrl.balancing.gramian import cosines, norms


def project_conflicts(gramian: Tensor, order: Tensor) -> Tensor:
    """PCGrad's projected unit gradients, as coefficients `[m, m]` of the unit gradients.

    Args:
        gramian: `[m, m]` float64.
        order: `[m, m]`; row i is the order in which task i meets the others. It skips itself.
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
    """GradVac's turned unit gradients, and its target cosines after the step.

    Args:
        gramian: `[m, m]` float64.
        order: as in :func:`project_conflicts`.
        target: `[m, m]`, the smallest cosine that row i should have with gradient j.
        decay: weight of the new cosine in the moving average of targets.

    Returns:
        Coefficients of the unit gradients `[m, m]`, and target cosines `[m, m]`.
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
    """Task weights `[m]` whose combination is the sum of the projected gradients."""
    length = norms(gramian)
    total = length @ rows  # gives each row the norm of its gradient, and sums the rows
    return torch.where(length > 0, total / length.clamp_min(1e-300), 0.0)


def _alive_identity(gramian: Tensor) -> Tensor:
    return torch.diag((norms(gramian) > 0).double())
