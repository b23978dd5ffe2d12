"""LS, linear scalarisation: the plain sum of the losses (Multitask Learning, Caruana 1997)."""

from __future__ import annotations

import torch
from torch import Tensor

from mtrl.balancing.base import Needs, Weighting
from mtrl.balancing.signals import Signals


class LS(Weighting):
    """Every task has weight 1. This is the baseline of all other methods.

    Source: "Multitask Learning", Caruana, Machine Learning 28, 1997,
    https://doi.org/10.1023/A:1007379606734.
    State: none. Scale: weights sum to m.
    Cost: one plain backward pass; no per-task gradient is formed.
    """

    needs = Needs.NOTHING
    weighs_losses = True
    uniform = True
    informed = "weights"
    paper = (
        '"Multitask Learning", Caruana, Machine Learning 28, 1997, '
        "https://doi.org/10.1023/A:1007379606734"
    )
    scale = "weights sum to m"
    checked_against = "by hand, authors' code"
    differs = "the sum of the losses, where some codes take the mean"

    def task_weights(self, signals: Signals) -> Tensor:
        """Ones, `[m]`."""
        return torch.ones(
            self.num_tasks, dtype=torch.get_default_dtype(), device=signals.finite_rows().device
        )
