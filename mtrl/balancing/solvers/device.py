"""The power-barrier solver for a CUDA graph: fixed shapes and iterations, no look by the host."""

from __future__ import annotations

import torch
from torch import Tensor

from mtrl.balancing.gramian import cosines, norms
from mtrl.balancing.solvers.barrier import MAX_SCALED
from mtrl.balancing.solvers.solution import ZERO_ROW

_LINE_SEARCH = 10  # step sizes tried at once: 1, 1/2, ..., 2^-9


def power_barrier_on_device(
    gramian: Tensor,
    target: Tensor,
    exponent: float,
    *,
    ridge: float = 1e-14,
    iterations: int = 15,
) -> tuple[Tensor, Tensor]:
    """Solve `(M a)_i = c_i a_i^(-p)`: :func:`mtrl.balancing.solvers.power_barrier` in tensors only.

    The same scaling, start and damped Newton steps; the step sizes of the line search are tried at
    once and the first that satisfies Armijo's condition is selected. Zero rows are decoupled
    instead of removed, which keeps the shapes.

    Args:
        gramian: M, `[m, m]` float64.
        target: c, `[m]`, positive.
        exponent: p, positive.
        ridge: added to the diagonal of the matrix of cosines.
        iterations: Newton steps; the host needs up to 10 on badly scaled matrices, mostly 2 to 4.

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

    def objective(point: Tensor) -> Tensor:
        barrier = point.log() if p == 1.0 else point ** (1.0 - p) / (1.0 - p)
        return 0.5 * ((point @ system) * point).sum(-1) - barrier @ c

    b = c ** (1.0 / (1.0 + p))
    # The median of the used rows; indexing by a tensor of no dimensions would synchronise.
    count = used.sum()
    ordered = torch.where(used, b, torch.inf).sort().values
    middle = torch.stack([(count - 1).clamp_min(0) // 2, count // 2])
    typical = ordered.gather(0, middle.clamp_max(len(b) - 1)).mean()
    quadratic = torch.where(used, b * (system @ b), 0.0).sum()
    pull = torch.where(used, c * b ** (1.0 - p), 0.0).sum()
    rescale = (pull / quadratic.clamp_min(1e-300)) ** (1.0 / (1.0 + p))
    b = torch.where(used & (quadratic > 0), b * rescale, b)
    sizes = 0.5 ** torch.arange(_LINE_SEARCH, dtype=torch.float64, device=gramian.device)
    for _ in range(iterations):
        pull = c * b ** (1.0 - p)
        gradient = b * (system @ b) - pull
        hessian = system * b[:, None] * b[None, :] + torch.diag(p * pull)
        factor, failed = torch.linalg.cholesky_ex(hessian)
        step = -torch.cholesky_solve(gradient[:, None], factor)[:, 0]
        slope = gradient @ step
        longest = (0.9 / (-step.amin()).clamp_min(1e-300)).clamp_max(1.0)
        trial_sizes = longest * sizes
        value = objective(b)
        trials = objective(b * (1.0 + trial_sizes[:, None] * step).clamp_min(0.05))
        slack = 1e-13 * (value.abs() + 1.0) + 2e-16 * b.sum().square()
        accepted = trials <= value + 1e-4 * trial_sizes * slope + slack
        first = accepted.double().argmax()  # the first of the largest
        size = torch.where(accepted.any(), trial_sizes.gather(0, first.view(1))[0], 0.0)
        usable = torch.isfinite(step).all() & (slope < 0) & (failed == 0)
        b = torch.where(usable, b * (1.0 + size * step), b)

    highest = torch.where(used, b, 0.0).amax().clamp_min(1e-300)
    b = torch.where(used, b * (MAX_SCALED * typical / highest).clamp_max(1.0), b)
    violation = (b * (cosine @ b) / (c * b ** (1.0 - p)) - 1.0).abs()
    residual = torch.where(used, violation, 0.0).amax()
    weights = torch.where(used, b / safe * (log_scale / (1.0 + p)).exp(), 0.0)
    return torch.where(torch.isfinite(weights), weights, 0.0), residual
