"""Adam for the parameters that a method learns, with its moments in buffers."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Adam(nn.Module):
    """The optimiser of methods that learn their weights.

    `torch.optim.Adam` creates its state at the first step and keeps it outside the module's
    `state_dict`. A method needs its state complete at construction.

    Source: Kingma and Ba, ICLR 2015, Algorithm 1; weight decay is added to the gradient.

    Args:
        size: number of parameters.
        learning_rate: learning rate.
        weight_decay: L2 coefficient.
        betas: decay rates of the two moments.
        epsilon: added to the square root of the second moment.
        limit: largest absolute value of a parameter; none by default.
    """

    def __init__(
        self,
        size: int,
        learning_rate: float,
        *,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-8,
        limit: float = math.inf,
    ) -> None:
        super().__init__()
        if learning_rate <= 0:
            raise ValueError(f"`learning_rate` should be positive. Found {learning_rate}.")
        if weight_decay < 0:
            raise ValueError(f"`weight_decay` should not be negative. Found {weight_decay}.")
        if limit <= 0:
            raise ValueError(f"`limit` should be positive. Found {limit}.")
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.betas = betas
        self.epsilon = epsilon
        self.limit = limit
        self.first: Tensor
        self.second: Tensor
        self.steps: Tensor
        self.register_buffer("first", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("second", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def descend(self, parameters: Tensor, gradient: Tensor) -> None:
        """One step, in place on `parameters`."""
        beta1, beta2 = self.betas
        gradient = gradient.double().clamp(-1e100, 1e100)  # so that its square is finite
        gradient = gradient + self.weight_decay * parameters
        self.steps += 1
        self.first.lerp_(gradient, 1.0 - beta1)
        self.second.mul_(beta2).addcmul_(gradient, gradient, value=1.0 - beta2)
        first = self.first / (1.0 - beta1 ** self.steps.double())
        second = self.second / (1.0 - beta2 ** self.steps.double())
        parameters -= self.learning_rate * first / (second.sqrt() + self.epsilon)
        if self.limit < math.inf:
            parameters.clamp_(-self.limit, self.limit)
