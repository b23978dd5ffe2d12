"""What a Gramian, weights and performance say about balancing, for the log and the viewer.

Everything here is computed from `[m, m]` and `[m]`: nothing touches the parameters. Conflict,
Proximity, condition number and MER balance are RGB's equations 3 to 6; the matrix of the condition
number, which the paper leaves open, is that of the cosines, plus 1e-12 on the diagonal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from mtrl.balancing.gramian import cosines, norms
from mtrl.balancing.methods.rgb import angle_gradient
from mtrl.balancing.omega import performance_weights, temperature
from mtrl.balancing.signals import Performance


def conflict_diagnostics(gramian: Tensor) -> dict[str, Tensor]:
    """How the task gradients lie to each other, whatever the method.

    Args:
        gramian: `[m, m]`.

    Returns:
        `cos_to_mean [m]`, cosines to the average gradient, and `cos_to_mean_avg` (about 0.7 for
        similar tasks, 0.3 for hard problems); `cos_min` and `conflict_rate` over pairs; `conflict`,
        the mean of `(1 - cos) / 2` over pairs; `condition_number` of the cosines; `norm_ratio` of
        the largest to the smallest gradient.
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
        "conflict": (0.5 * (1.0 - pairs)).mean(),
        "condition_number": _condition_number(cosine),
        "norm_ratio": torch.where(alive.any(), length.amax() / smallest, 1.0),
    }


def update_diagnostics(gramian: Tensor, products: Tensor, square: Tensor) -> dict[str, Tensor]:
    """How an update d lies to the task gradients.

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


def rotation_diagnostics(cosine: Tensor, coefficients: Tensor) -> dict[str, Tensor]:
    """RGB's measures for methods that turn single gradients (RGB, PCGrad, GradVac).

    Args:
        cosine: inner products of the unit vectors that rows are made of, `[k, k]`: the units of the
            m tasks first, and the unit reference direction, if any, after them.
        coefficients: `[m, k]`, the adjusted rows in those vectors; normalised here.

    Returns:
        `conflict`, `proximity`, `condition_number` of the adjusted rows and `mer_balance`, the
        square root (as printed, not the cube root) of `1 / ((1 + conflict) (1 + proximity) (1 +
        kappa))`.
    """
    m = len(coefficients)
    inner = coefficients @ cosine @ coefficients.T
    length = inner.diagonal().clamp_min(0.0).sqrt()
    inverse = torch.where(length > 0, 1.0 / length.clamp_min(1e-300), 0.0)
    adjusted = (inner * inverse[:, None] * inverse[None, :]).clamp(-1.0, 1.0)
    own = ((coefficients @ cosine)[:, :m].diagonal() * inverse).clamp(-1.0, 1.0)
    rows, columns = torch.triu_indices(m, m, offset=1, device=cosine.device)
    conflict = (0.5 * (1.0 - adjusted[rows, columns])).mean() if m > 1 else own.new_zeros(())
    proximity = (0.5 * (1.0 - own)).mean()  # |r - u|^2 / 4 for unit vectors
    kappa = _condition_number(adjusted)
    return {
        "conflict": conflict,
        "proximity": proximity,
        "condition_number": kappa,
        "mer_balance": mer_balance(conflict, proximity, kappa),
    }


def mer_balance(conflict: Tensor, proximity: Tensor, condition_number: Tensor) -> Tensor:
    """`sqrt(1 / ((1 + conflict) (1 + proximity) (1 + condition_number)))`."""
    return ((1.0 + conflict) * (1.0 + proximity) * (1.0 + condition_number)).rsqrt()


def performance_diagnostics(
    performance: Performance, *, min_temperature: float = 10.0, bound: float = 2.0
) -> dict[str, Tensor]:
    """omega and what PIVRG says that it measures.

    Returns:
        `omega [m]`; `omega_square`, `omega . omega`; `drop_variance`, the population variance of
        the known drops in percent squared; `drop_variance_estimate`, `tau^2 (omega . omega / m -
        1)`, its first-order approximation; `temperature`, tau.
    """
    options = {"min_temperature": min_temperature, "bound": bound}
    omega = performance_weights(performance, **options)
    tau = temperature(performance, **options)
    drop = performance.drop_percent().double()
    known = torch.isfinite(drop)
    count = known.sum().clamp_min(1)
    mean = torch.where(known, drop, 0.0).sum() / count
    square = omega.square().sum()
    return {
        "omega": omega,
        "omega_square": square,
        "drop_variance": torch.where(known, (drop - mean).square(), 0.0).sum() / count,
        "drop_variance_estimate": tau**2 * (square / len(omega) - 1.0),
        "temperature": tau,
    }


def angle_errors(
    angles: Tensor,
    cosine: Tensor,
    products: Tensor,
    square: Tensor,
    proximity_weight: float = 0.0,
) -> dict[str, float]:
    """How far RGB's angles are from the minimum of their objective; host work.

    With errors `e_i = alpha_i - alpha*_i`: `gmae`, the mean of `|e|`; `sd_mae`, `sqrt(mean (e -
    gmae)^2)` as printed, although it subtracts a mean of absolute values from signed errors; `ocae`
    and `ucae`, the means of the parts above and below zero; `mcae`, our reading, the mean of e.

    Args:
        angles: `[m]`, radians; `metrics["angles"]` of RGB.
        cosine: `[m, m]`.
        products: `u_i . d`, `metrics["reference_products"]`.
        square: `d . d`, `metrics["reference_square"]`.
        proximity_weight: lambda of the method.
    """
    alive = cosine.diagonal() > 0
    cosine, products, square = cosine.double(), products.double(), square.double()

    def gradient(point: np.ndarray) -> np.ndarray:
        at = torch.from_numpy(point.copy())
        return angle_gradient(at, cosine, products, square, alive, proximity_weight).numpy()

    def objective(point: np.ndarray) -> float:
        # The integral of the gradient along the ray from zero, by Gauss-Legendre quadrature.
        nodes, weights = np.polynomial.legendre.leggauss(24)
        values = [gradient(0.5 * (node + 1.0) * point) @ point for node in nodes]
        return float(0.5 * weights @ np.array(values))

    start = angles.double().cpu().numpy()
    result = minimize(
        objective,
        start,
        jac=gradient,
        method="L-BFGS-B",
        bounds=[(0.0, 0.5 * math.pi)] * len(start),
        options={"ftol": 1e-14, "gtol": 1e-12, "maxiter": 1000},
    )
    error = start - result.x
    gmae = float(np.abs(error).mean())
    return {
        "gmae": gmae,
        "sd_mae": float(np.sqrt(((error - gmae) ** 2).mean())),
        "ocae": float(np.maximum(error, 0.0).mean()),
        "ucae": float(np.maximum(-error, 0.0).mean()),
        "mcae": float(error.mean()),
    }


def step_diagnostics(
    gramian: Tensor,
    products: Tensor,
    square: Tensor,
    metrics: Mapping[str, Tensor | float],
    performance: Performance | None,
) -> dict[str, Tensor]:
    """Everything that this file can say about one step, for any method.

    Args:
        gramian: `[m, m]` of the task gradients.
        products, square: of the update d, as in :func:`update_diagnostics`.
        metrics: the method's own, from the same step.
        performance: what the method saw, if anything.

    Returns:
        The dictionaries of the functions above, joined; `rotated_*` and `angle_*` where the method
        turns single gradients and reports its angles.
    """
    facts = conflict_diagnostics(gramian) | update_diagnostics(gramian, products, square)
    unturned = cosines(gramian.double())
    identity = torch.eye(len(gramian), dtype=torch.float64, device=gramian.device)
    plain = rotation_diagnostics(unturned, identity)
    facts |= {key: plain[key] for key in ("proximity", "mer_balance")}
    weights = metrics.get("weights")
    if isinstance(weights, Tensor):
        facts["effective_tasks"] = weighting_diagnostics(gramian, weights)["effective_tasks"]
    angles = metrics.get("angles")
    if isinstance(angles, Tensor):
        inner, length = metrics["reference_products"], metrics["reference_square"]
        assert isinstance(inner, Tensor) and isinstance(length, Tensor)
        facts |= {
            f"rotated_{key}": value
            for key, value in _rotated(unturned, angles.double(), inner.double(), length).items()
        }
        errors = angle_errors(angles, unturned, inner, length)
        facts |= {f"angle_{key}": torch.tensor(value) for key, value in errors.items()}
    if performance is not None:
        known = performance_diagnostics(performance)
        facts |= {k: known[k] for k in ("omega_square", "drop_variance", "drop_variance_estimate")}
    return facts


def _rotated(cosine: Tensor, angles: Tensor, products: Tensor, square: Tensor) -> dict[str, Tensor]:
    """RGB's measures of the rows `cos a u + sin a w`, w the part of d across u, normalised."""
    across = (square - products**2).clamp_min(0.0).sqrt()
    turns = across > 1e-12 * square.sqrt()
    along = torch.where(turns, angles.sin() / across.clamp_min(1e-300), 0.0)
    own = torch.where(turns, angles.cos() - along * products, 1.0)
    norm = square.sqrt().clamp_min(1e-300)
    column = (products / norm)[:, None]
    one = torch.ones(1, 1, dtype=cosine.dtype, device=cosine.device)
    joined = torch.cat([torch.cat([cosine, column], 1), torch.cat([column.T, one], 1)])
    rows = torch.cat([torch.diag(own), (along * norm)[:, None]], 1)
    return rotation_diagnostics(joined, rows)


def _condition_number(cosine: Tensor) -> Tensor:
    identity = torch.eye(len(cosine), dtype=cosine.dtype, device=cosine.device)
    values = torch.linalg.eigvalsh(cosine + 1e-12 * identity)
    return values[-1] / values[0].clamp_min(1e-12)
