"""CDTT: Leveraging convergence behavior to balance conflicting tasks in multi-task learning."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mtrl.balancing.base import Needs, Weighting
from mtrl.balancing.gramian import norms
from mtrl.balancing.methods._host_solve import solve_on_host
from mtrl.balancing.signals import Signals
from mtrl.balancing.solvers import unit_min_norm


class CDTT(Weighting):
    """EDM's direction d_0, pulled towards the tasks that fall behind ("task tension").

    `d = d_0 + sum_i c_i (g_i - d_0) / |g_i - d_0|`, with the tension
    `c_i = alpha / (1 + exp(e - e delta_i)) + 1 - alpha` and
    `delta_i = zeta_i(t) / zeta_i(t - 1) + log10 loss_i`. Here e is Euler's number, and `zeta_i(t)` is
    the mean of the past norms `|g_i(t - 1)| ... |g_i(t - N)|`. The ratio is 1 until there are two
    such means.

    Source: "Leveraging convergence behavior to balance conflicting tasks in multi-task learning",
    Nakamura, Grassi and Wolf, Neurocomputing 511, 2022, https://arxiv.org/abs/2204.06698, in the
    form in which appendix A.4 of "Uniform Loss vs. Specialized Optimization: A Comparative Analysis
    in Multi-Task Learning", Gama and Grassi, 2025, https://arxiv.org/abs/2505.10347, cites it.
    Differs from the papers: they do not print N; it is 10 steps, as in the released code of the
    comparison (Gabriel-SGama/UnitScal_vs_SMTOs). A window that is not yet full is averaged over the
    norms it has. A task whose gradient equals d_0 has no tension. We follow the printed equations;
    the code of the comparison differs from them: its window includes the current norm, it has no
    tension before the window is full, and it turns d if d conflicts with a task. The first authors'
    code (tiemink/MTL_TaskTensioner) was not compared.
    State: the past norms `[window, m]`, the last mean of past norms `[m]`, the number of steps.
    Scale: none. The tension is a sum of unit vectors, so d is not homogeneous in J.
    Cost: the Gramian, O(m^4) at worst on the host.

    Args:
        tension: alpha in [0, 1]; 0.2, 0.6 or 1 in the comparison, depending on the problem.
        window: N, number of past steps over which norms are averaged.
    """

    needs = Needs.LOSSES | Needs.GRAMIAN
    positive_losses = True
    capturable = False
    refusal = (
        "its weights may be negative, and a larger omega would then turn the"
        " update away from the task"
    )
    paper = (
        '"Leveraging convergence behavior to balance conflicting tasks in multi-task '
        'learning", Nakamura, Grassi and Wolf, Neurocomputing 511, 2022, '
        "https://arxiv.org/abs/2204.06698"
    )
    scale = "none"
    checked_against = "by hand"
    differs = "window of 10 past norms; d is not turned when it conflicts (released code does)"

    def __init__(
        self,
        num_tasks: int,
        num_shared: int,
        *,
        seed: int = 0,
        tension: float = 0.2,
        window: int = 10,
    ) -> None:
        super().__init__(num_tasks, num_shared, seed=seed)
        if not 0 <= tension <= 1:
            raise ValueError(f"`tension` should be in [0, 1]. Found {tension}.")
        if window < 1:
            raise ValueError(f"`window` should be at least 1 step. Found {window}.")
        self.tension = tension
        self.window = window
        self.history: Tensor
        self.mean_before: Tensor
        self.steps: Tensor
        self.register_buffer("history", torch.zeros(window, num_tasks, dtype=torch.float64))
        self.register_buffer("mean_before", torch.zeros(num_tasks, dtype=torch.float64))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def task_weights(self, signals: Signals) -> Tensor:
        """Weights of d, `[m]`; zero for a zero row."""
        gramian, length = signals.gramian, norms(signals.gramian)
        base = solve_on_host(self, gramian, unit_min_norm)

        # A mean is zero until there is one. A ratio with a missing side counts as 1.
        past = self.history.sum(0) / self.steps.clamp(1, self.window)
        known = (past > 0) & (self.mean_before > 0)
        growth = torch.where(known, past / self.mean_before.clamp_min(1e-300), 1.0)
        self.mean_before.copy_(past)
        slot = torch.arange(self.window, device=length.device) == self.steps % self.window
        self.history.copy_(torch.where(slot[:, None], length, self.history))
        self.steps += 1

        delta = growth + signals.positive_losses.log10()
        pull = self.tension * torch.sigmoid(math.e * (delta - 1.0)) + 1.0 - self.tension
        product = gramian @ base
        # If g_i is close to d, |g_i - d|^2 cancels, and only rounding is left.
        terms = gramian.diagonal() + base @ product
        square = terms - 2.0 * product
        apart = (length > 0) & (square > 1e-12 * terms)
        share = torch.where(apart, pull / square.clamp_min(1e-300).sqrt(), 0.0)
        return base * (1.0 - share.sum()) + share
