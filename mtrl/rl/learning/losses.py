"""The losses of multi-task SAC: pure functions, one path, always one loss per task.

Source: Haarnoja et al., "Soft Actor-Critic Algorithms and Applications", 2018 (arXiv 1812.05905).
"""

from __future__ import annotations

import torch
from torch import Tensor


def critic_targets(
    reward: Tensor, discount: Tensor, next_q: Tensor, next_log_prob: Tensor, alpha: Tensor
) -> Tensor:
    """Soft Bellman targets (equation 3 with the smaller of the target critics).

    Args:
        reward, discount: `[m, b]`; the discount is 0 after a terminal step.
        next_q: `[e, m, b]`, target critics at the next state and an action drawn there.
        next_log_prob: `[m, b]`, of that action.
        alpha: `[m, 1]`, temperatures.

    Returns:
        `[m, b]`.
    """
    value = torch.addcmul(next_q.amin(0), alpha, next_log_prob, value=-1.0)
    return torch.addcmul(reward, discount, value)


def critic_losses(q: Tensor, target: Tensor) -> Tensor:
    """Mean squared error over samples and critics (equation 5): `[e, m, b], [m, b] -> [m]`."""
    return (q - target).square().mean(dim=(0, 2))


def actor_losses(q: Tensor, log_prob: Tensor, alpha: Tensor) -> Tensor:
    """`E[alpha log pi - min Q]` (equation 7): `[e, m, b], [m, b], [m, 1] -> [m]`."""
    return (alpha * log_prob - q.amin(0)).mean(-1)


def temperature_gradient(entropy: Tensor, target_entropy: float) -> Tensor:
    """Gradient of `-log alpha E[log pi + target entropy]` (equation 18, in its log form) in log alpha.

    Args:
        entropy: `[m]`, `-E[log pi]` of each task.
        target_entropy: in nats.

    Returns:
        `[m]`; of a temperature that all tasks share, the sum.
    """
    return entropy - target_entropy
