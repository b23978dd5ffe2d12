"""The power-barrier solver for CUDA graphs: fixed shapes, fixed iterations, no read by the host."""

from __future__ import annotations

import torch
from torch import Tensor

from mtrl.balancing.gramian import cosines, norms
from mtrl.balancing.solvers.barrier import MAX_SCALED
from mtrl.balancing.solvers.solution import ZERO_ROW

_LONGEST = 3.0  # largest change of log b in a step


def power_barrier_on_device(
    gramian: Tensor,
    target: Tensor,
    exponent: float,
    *,
    ridge: float = 1e-14,
    iterations: int = 15,
) -> tuple[Tensor, Tensor]:
    """Solve `(M a)_i = c_i a_i^(-p)`: :func:`mtrl.balancing.solvers.power_barrier` in tensors only.

    Scaling and Newton steps in log b are the same. There is no line search; instead no step changes an
    entry of log b by more than 3. This converges in all tests, also for nearly opposed gradients. Zero
    rows are decoupled instead of removed, to keep the shapes.

    Args:
        gramian: M, `[m, m]` float64.
        target: c, `[m]`, positive.
        exponent: p, positive.
        ridge: added to the diagonal of the matrix of cosines.
        iterations: number of Newton steps; 8 are enough unless gradients are nearly opposed.

    Returns:
        `(weights [m], residual)`, finite; zero weights for zero rows.
    """
    p = exponent
    gramian, target = gramian.double(), target.double()
    length = norms(gramian)
    length = torch.where(torch.isfinite(length), length, 0.0)
    used = length > ZERO_ROW * length.amax()
    safe = torch.where(used, length, 1.0)
    pair = used[:, None] & used[None, :]
    identity = torch.eye(len(gramian), dtype=torch.float64, device=gramian.device)
    cosine = torch.where(pair, torch.nan_to_num(cosines(gramian)), 0.0)
    cosine = cosine * (1.0 - identity) + identity
    system = cosine + ridge * identity

    log_target = torch.where(used, target.log() + (p - 1.0) * safe.log(), 0.0)
    log_scale = log_target.sum() / used.sum().clamp_min(1)
    c = torch.where(used, (log_target - log_scale).exp(), 1.0)

    b = c ** (1.0 / (1.0 + p))
    # The median of the used rows. `gather`, because indexing by a scalar tensor would synchronise.
    count = used.sum()
    ordered = torch.where(used, b, torch.inf).sort().values
    middle = torch.stack([(count - 1).clamp_min(0) // 2, count // 2])
    typical = ordered.gather(0, middle.clamp_max(len(b) - 1)).mean()
    quadratic = torch.where(used, b * (system @ b), 0.0).sum()
    pull = torch.where(used, c * b ** (1.0 - p), 0.0).sum()
    rescale = (pull / quadratic.clamp_min(1e-300)) ** (1.0 / (1.0 + p))
    b = torch.where(used & (quadratic > 0), b * rescale, b)
    for _ in range(iterations):
        hessian = system * b * b[:, None]
        pull = c * b ** (1.0 - p)
        gradient = hessian.sum(1) - pull
        hessian.diagonal().add_(pull, alpha=p)
        factor, failed = torch.linalg.cholesky_ex(hessian)
        step = torch.cholesky_solve(gradient[:, None], factor)[:, 0].nan_to_num(0.0, 0.0, 0.0)
        step = step * (failed == 0)
        size = (_LONGEST / step.abs().amax()).clamp_max(1.0)
        b = b * (step * -size).exp()

    highest = torch.where(used, b, 0.0).amax().clamp_min(1e-300)
    b = torch.where(used, b * (MAX_SCALED * typical / highest).clamp_max(1.0), b)
    violation = (b * (cosine @ b) / (c * b ** (1.0 - p)) - 1.0).abs()
    residual = torch.where(used, violation, 0.0).amax()
    weights = torch.where(used, b / safe * (log_scale / (1.0 + p)).exp(), 0.0)
    return torch.where(torch.isfinite(weights), weights, 0.0), residual
