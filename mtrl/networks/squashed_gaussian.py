"""The distribution of the policy: a diagonal Gaussian squashed by tanh into (-1, 1)."""

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
        mean: mean of the Gaussian, `[..., action]`.
        log_std: log standard deviation of the Gaussian, `[..., action]`.
        noise: standard normal draws, `[..., action]`.

    Returns:
        `(action [..., action], log_prob [...])`.
    """
    raw = torch.addcmul(mean, log_std.exp(), noise)
    # -log pi is `log_std + noise^2 / 2` from the Gaussian, minus `2 (raw + softplus)` from the
    # squashing, plus constants, which are added at the end.
    spread = torch.addcmul(log_std, noise, noise, value=0.5)
    squash = raw + F.softplus(-2.0 * raw)
    constant = mean.shape[-1] * (0.5 * math.log(2 * math.pi) + 2.0 * math.log(2.0))
    return torch.tanh(raw), torch.sub(2.0 * squash, spread).sum(-1) - constant
