"""RGB's rotations, computed on the Gramian: rotated rows, inner objective, and errors of the angles.

u_i is the unit gradient of task i, d a reference vector, and w_i the unit vector along the part of d
that is orthogonal to u_i. The rotated gradient is `r_i = cos(alpha_i) u_i + sin(alpha_i) w_i`. The
functions need only the cosines of the gradients `[m, m]`, the products `u_i . d` `[m]`, and `d . d`.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor


def coefficients(
    angles: Tensor, product: Tensor, square: Tensor, alive: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """A, B and 1 / |part of d orthogonal to u_i|, each `[m]`, with `r_i = A_i u_i + B_i d`."""
    across = (square - product**2).clamp_min(0.0).sqrt()
    turns = alive & (across > 1e-7 * square.sqrt()) & (square > 0)
    inverse = torch.where(turns, 1.0 / across.clamp_min(1e-300), 0.0)
    sine = angles.sin() * inverse
    own = torch.where(turns, angles.cos() - sine * product, alive.double())
    return own, sine, inverse


def angle_objective(
    angles: Tensor,
    cosine: Tensor,
    product: Tensor,
    square: Tensor,
    alive: Tensor,
    proximity_weight: float,
) -> Tensor:
    """RGB's inner objective (equation 1), a scalar tensor.

    It is `sum_{i<j} (1 - r_i . r_j) / (K (K - 1)) + lambda sum_i |r_i - u_i|^2 / (4 K)`, over the K
    tasks whose gradient is not zero.
    """
    count = alive.sum().double()
    own, shared, inverse = coefficients(angles, product, square, alive)
    total = shared.sum()
    # |sum of the r_i|^2 is K plus twice the products of the pairs.
    summed = own @ cosine @ own + 2.0 * total * (own @ product) + total**2 * square
    pairs = 0.5 * count * (count - 1.0) - 0.5 * (summed - count)
    apart = torch.where(inverse > 0, 1.0 - angles.cos(), 0.0).sum()  # |r_i - u_i|^2 / 2
    conflict = pairs / (count * (count - 1.0)).clamp_min(1.0)
    return conflict + proximity_weight / (2.0 * count.clamp_min(1.0)) * apart


def angle_gradient(
    angles: Tensor,
    cosine: Tensor,
    product: Tensor,
    square: Tensor,
    alive: Tensor,
    proximity_weight: float,
) -> Tensor:
    """Gradient of :func:`angle_objective` with respect to the angles, `[m]`."""
    count = alive.sum().double()
    own, shared, inverse = coefficients(angles, product, square, alive)
    # dr_i / dalpha_i = P_i u_i + Q_i d
    slope_shared = angles.cos() * inverse
    slope_own = torch.where(inverse > 0, -angles.sin() - slope_shared * product, 0.0)
    # The sum of the r_j, as its products with each u_i and with d.
    with_units = cosine @ own + shared.sum() * product
    with_reference = own @ product + shared.sum() * square
    own_units = own + shared * product  # r_i . u_i
    own_reference = own * product + shared * square
    toward = slope_own * (with_units - own_units)
    toward = toward + slope_shared * (with_reference - own_reference)
    conflict = -toward / (count * (count - 1.0)).clamp_min(1.0)
    proximity = proximity_weight / (2.0 * count.clamp_min(1.0)) * angles.sin()
    return torch.where(alive & (inverse > 0), conflict + proximity, 0.0)


def angle_errors(
    angles: Tensor, cosine: Tensor, product: Tensor, square: Tensor, proximity_weight: float
) -> dict[str, Tensor]:
    """Distance of the angles from the minimum of the inner objective. It solves on the host.

    With errors `e_i = alpha_i - alpha*_i` (RGB, definitions 2.5 to 2.8): `angle_gmae` is the mean of
    `|e|`. `angle_sd_mae` is `sqrt(mean (e - gmae)^2)` as printed, although this subtracts a mean of
    absolute values from signed errors. `angle_ocae` and `angle_ucae` are the means of the positive and
    the negative parts. `angle_mcae` is the mean of e, which is our reading of the paper.

    Args:
        angles: `[m]`, radians.
        cosine: `[m, m]`.
        product: `u_i . d`, `[m]`.
        square: `d . d`.
        proximity_weight: lambda in the objective.
    """
    cosine, product, square = (t.double().cpu() for t in (cosine, product, square))
    alive = cosine.diagonal() > 0
    given = (cosine, product, square, alive, proximity_weight)

    def objective(point: np.ndarray) -> tuple[float, np.ndarray]:
        at = torch.from_numpy(point.copy())
        return float(angle_objective(at, *given)), angle_gradient(at, *given).numpy()

    start = angles.double().cpu().numpy()
    result = minimize(
        objective,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, 0.5 * math.pi)] * len(start),
        options={"ftol": 1e-15, "gtol": 1e-12, "maxiter": 1000},
    )
    error = start - result.x
    gmae = float(np.abs(error).mean())
    values = {
        "angle_gmae": gmae,
        "angle_sd_mae": float(np.sqrt(((error - gmae) ** 2).mean())),
        "angle_ocae": float(np.maximum(error, 0.0).mean()),
        "angle_ucae": float(np.maximum(-error, 0.0).mean()),
        "angle_mcae": float(error.mean()),
    }
    return {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}
