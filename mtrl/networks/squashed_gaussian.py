"""The policy's distribution: a diagonal Gaussian squashed by tanh into (-1, 1)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def squash_log_std(log_std: Tensor, low: float, high: float) -> Tensor:
    """Clip the network's log standard deviation to `[low, high]`."""
    return log_std.clamp(low, high)


def sample_squashed(mean: Tensor, log_std: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Reparametrised actions and their log-probabilities.

    `log(1 - tanh(u)^2)` is computed as `2 (log 2 - u - softplus(-2u))`, which does not underflow.
    Source: Haarnoja et al., 2018 (arXiv 1812.05905), appendix C.

    Args:
        mean, log_std: `[..., action]`.
        noise: standard normal draws of that shape.

    Returns:
        `(action [..., action], log_prob [...])`.
    """
    raw = mean + log_std.exp() * noise
    normal = -0.5 * noise**2 - log_std - 0.5 * math.log(2 * math.pi)
    correction = 2.0 * (math.log(2.0) - raw - F.softplus(-2.0 * raw))
    return torch.tanh(raw), (normal - correction).sum(-1)
