"""DWA, dynamic weight average: End-to-End Multi-Task Learning with Attention."""

from __future__ import annotations

import torch
from torch import Tensor

from mtrl.balancing.base import Needs, Weighting
from mtrl.balancing.signals import Signals


class DWA(Weighting):
    """Give more weight to tasks whose losses fall more slowly: `w = m softmax(r / T)`.

    r_i is the mean loss over the last window divided by the mean loss over the window before.

    Source: "End-to-End Multi-Task Learning with Attention", Liu, Johns and Davison, CVPR 2019,
    https://arxiv.org/abs/1803.10704, equation 7.
    Differs from the released code: the windows do not overlap, like the paper's epochs (the code
    slides two windows of 25 steps over a buffer that starts with ones, so its early ratios are
    wrong); weights are 1 until two windows are complete.
    State: the running sum and two window means `[3, m]`, and the number of steps.
    Scale: weights sum to m. Cost: one plain backward pass.

    Args:
        window: number of steps whose losses are averaged; an epoch in the paper, 25 in released code.
        temperature: T; larger is more uniform. The paper uses 2.
    """

    needs = Needs.LOSSES
    positive_losses = True
    weighs_losses = True
    informed = "weights"
    paper = (
        '"End-to-End Multi-Task Learning with Attention", Liu, Johns and Davison, CVPR 2019, '
        "https://arxiv.org/abs/1803.10704"
    )
    scale = "weights sum to m"
    checked_against = "by hand, authors' code"
    differs = "windows do not overlap (released code slides them over a buffer of ones)"

    def __init__(
        self,
        num_tasks: int,
        num_shared: int,
        *,
        seed: int = 0,
        window: int = 25,
        temperature: float = 2.0,
    ) -> None:
        super().__init__(num_tasks, num_shared, seed=seed)
        if window < 1:
            raise ValueError(f"`window` should be at least 1 step. Found {window}.")
        if temperature <= 0:
            raise ValueError(f"`temperature` should be positive. Found {temperature}.")
        self.window = window
        self.temperature = temperature
        self.means: Tensor
        self.steps: Tensor
        # Rows: the sum of the open window, the mean of the last one, the mean of the one before.
        self.register_buffer("means", torch.zeros(3, num_tasks, dtype=torch.float64))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def task_weights(self, signals: Signals) -> Tensor:
        """w, `[m]`; the current losses count from the next step on."""
        started = self.steps >= 2 * self.window
        ratio = self.means[1] / self.means[2].clamp_min(1e-300)
        weights = self.num_tasks * (ratio / self.temperature).softmax(0)
        weights = torch.where(started, weights, 1.0)

        self.steps += 1
        total = self.means[0] + signals.positive_losses
        full = self.steps % self.window == 0
        closed = torch.stack([torch.zeros_like(total), total / self.window, self.means[1]])
        opened = torch.stack([total, self.means[1], self.means[2]])
        self.means.copy_(torch.where(full, closed, opened))
        return weights
