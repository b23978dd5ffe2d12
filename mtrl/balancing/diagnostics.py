"""Measures of the task gradients and the update, for the log. This file knows no method.

Everything is computed from `[m, m]` and `[m]`; nothing reads the parameters. Conflict,
Proximity, condition number and MER balance are RGB's equations 3 to 6; the matrix of the condition
number, which the paper leaves open, is that of the cosines, plus 1e-12 on the diagonal.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mtrl.balancing.adjusted import AdjustedRows
from mtrl.balancing.gramian import cosines, norms

ROW_MEASURES = ("conflict", "proximity", "condition_number", "mer_balance")
"""Of the rows that a method combines; `raw_` in front, of the task gradients (whose proximity is 0)."""


def conflict_diagnostics(gramian: Tensor) -> dict[str, Tensor]:
    """Angles between the task gradients, and their norms.

    Args:
        gramian: `[m, m]`.

    Returns:
        `cos_to_mean [m]`, cosines to the average gradient, and `cos_to_mean_avg` (about 0.7 for
        similar tasks, 0.3 for hard problems); `cos_min` and `conflict_rate` over pairs;
        `norm_ratio` of the largest to the smallest gradient.
    """
    m = len(gramian)
    length, cosine = norms(gramian.double()), cosines(gramian.double())
    mean_length = gramian.double().sum().clamp_min(0.0).sqrt() / m
    scale = length * mean_length
    to_mean = torch.where(scale > 0, gramian.sum(1) / m / scale.clamp_min(1e-300), 0.0)
    rows, columns = torch.triu_indices(m, m, offset=1, device=gramian.device)
    pairs = cosine[rows, columns] if m > 1 else torch.ones_like(length)
    alive = length > 0
    smallest = torch.where(alive, length, torch.inf).amin()
    return {
        "cos_to_mean": to_mean.clamp(-1.0, 1.0),
        "cos_to_mean_avg": to_mean.clamp(-1.0, 1.0).mean(),
        "cos_min": pairs.min(),
        "conflict_rate": (pairs < 0).double().mean(),
        "norm_ratio": torch.where(alive.any(), length.amax() / smallest, 1.0),
    }


def update_diagnostics(gramian: Tensor, products: Tensor, square: Tensor) -> dict[str, Tensor]:
    """Angles between an update d and the task gradients.

    Args:
        gramian: `[m, m]`.
        products: `g_i . d`, `[m]`; for weights w it is `gramian @ w`.
        square: `d . d`; for weights `w @ gramian @ w`.

    Returns:
        `update_angles [m]` in degrees, 90 where an angle is undefined; `common_descent`, 1 if no
        task with a gradient gets worse to first order; `worst_gain`, the smallest product over
        norms.
    """
    length = norms(gramian.double())
    scale = length * square.double().clamp_min(0.0).sqrt()
    cosine = torch.where(scale > 0, products / scale.clamp_min(1e-300), 0.0).clamp(-1.0, 1.0)
    alive = length > 0
    return {
        "update_angles": torch.rad2deg(torch.acos(cosine)),
        "common_descent": ((products >= 0) | ~alive).all().double(),
        "worst_gain": torch.where(alive, cosine, 1.0).amin(),
    }


def weighting_diagnostics(gramian: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """:func:`update_diagnostics` of `d = sum_i w_i g_i`, and how uneven the weights are."""
    gramian, weights = gramian.double(), weights.double()
    products = gramian @ weights
    share = weights.abs() / weights.abs().sum().clamp_min(1e-300)
    entropy = -(share * share.clamp_min(1e-300).log()).sum()
    return update_diagnostics(gramian, products, weights @ products) | {
        "effective_tasks": entropy.exp()
    }


def row_measures(rows: AdjustedRows, alive: Tensor) -> dict[str, Tensor]:
    """RGB's measures of the rows that a method combines.

    A row of which nothing is left has no angle: it is in no pair and not in the condition number, and
    in the proximity it counts as orthogonal to its gradient.

    Args:
        rows: after the method's adjustment; :meth:`AdjustedRows.unchanged` where it makes none.
        alive: `[m]`, the tasks that have a gradient; others count nowhere.

    Returns:
        `conflict`, the mean over pairs of `(1 - cos) / 2`; `proximity`, the mean over tasks of `|r -
        u|^2 / 4` for the unit vectors r of the row and u of the gradient; `condition_number` of the
        rows' cosines; and `mer_balance`.
    """
    m = len(rows.own)
    length, cosine = norms(rows.gramian), cosines(rows.gramian)
    left = (length > 0) & alive
    cosine = torch.where(left[:, None] & left[None, :], cosine, 0.0)
    first, second = torch.triu_indices(m, m, offset=1, device=cosine.device)
    pairs = left[first] & left[second]
    apart = torch.where(pairs, 0.5 * (1.0 - cosine[first, second]), 0.0)
    own = torch.where(left, rows.own / length.clamp_min(1e-300), 0.0).clamp(-1.0, 1.0)
    turned = torch.where(alive, 0.5 * (1.0 - own), 0.0)
    conflict = apart.sum() / pairs.sum().clamp_min(1)
    proximity = turned.sum() / alive.sum().clamp_min(1)
    # The eigenvalues of cosines lie around 1, so a 1 for a row without length is neither extreme.
    kappa = _condition_number(cosine + torch.diag((~left).to(cosine)))
    return {
        "conflict": conflict,
        "proximity": proximity,
        "condition_number": kappa,
        "mer_balance": mer_balance(conflict, proximity, kappa),
    }


def mer_balance(conflict: Tensor, proximity: Tensor, condition_number: Tensor) -> Tensor:
    """`sqrt(1 / ((1 + conflict) (1 + proximity) (1 + condition_number)))`.

    The square root as printed, not the cube root.
    """
    return ((1.0 + conflict) * (1.0 + proximity) * (1.0 + condition_number)).rsqrt()


def step_diagnostics(
    gramian: Tensor,
    products: Tensor,
    square: Tensor,
    *,
    weights: Tensor | None = None,
    adjusted: AdjustedRows | None = None,
) -> dict[str, Tensor]:
    """All measures of one step, for any method.

    Args:
        gramian: `[m, m]` of the task gradients.
        products, square: of the update d, as in :func:`update_diagnostics`.
        weights: `[m]`, where the method has some.
        adjusted: the rows that the method combined; None where they are the task gradients.

    Returns:
        The dictionaries of the functions above, joined: :data:`ROW_MEASURES` of the rows that the
        method combined, and with `raw_` in front of the task gradients.
    """
    facts = conflict_diagnostics(gramian) | update_diagnostics(gramian, products, square)
    alive = gramian.diagonal() > 0
    raw = row_measures(AdjustedRows.unchanged(gramian), alive)
    facts |= raw if adjusted is None else row_measures(adjusted, alive)
    facts |= {f"raw_{name}": raw[name] for name in ROW_MEASURES if name != "proximity"}
    if weights is not None:
        facts["effective_tasks"] = weighting_diagnostics(gramian, weights)["effective_tasks"]
    return facts


def _condition_number(cosine: Tensor) -> Tensor:
    identity = torch.eye(len(cosine), dtype=cosine.dtype, device=cosine.device)
    values = torch.linalg.eigvalsh(cosine + 1e-12 * identity)
    return values[-1] / values[0].clamp_min(1e-12)
