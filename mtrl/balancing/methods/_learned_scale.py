"""Learned scales that bring every loss to 1, for IMTL and IMTL-L."""

from __future__ import annotations

import torch
from torch import Tensor

from mtrl.balancing.methods._adam import Adam


class LossScales(Adam):
    """The learned log-scales s of IMTL-L: minimise `sum_i exp(s_i) loss_i - s_i`.

    Args:
        num_tasks: m.
        learning_rate: learning rate of s.
        limit: largest absolute value of s; unbounded scales are known to overflow.
    """

    def __init__(self, num_tasks: int, learning_rate: float, limit: float) -> None:
        super().__init__(num_tasks, learning_rate, limit=limit)
        self.log_scale: Tensor
        self.register_buffer("log_scale", torch.zeros(num_tasks, dtype=torch.float64))

    def advance(self, losses: Tensor) -> Tensor:
        """The scales `exp(s)`, `[m]`, before a step on these losses."""
        scale = torch.exp(self.log_scale)
        self.descend(self.log_scale, scale * losses - 1.0)
        return scale
