"""Fixed weights: the control for methods that adapt their weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from mtrl.balancing.base import Needs, Weighting
from mtrl.balancing.signals import Signals


class Fixed(Weighting):
    """Constant weights.

    Source: "Uniform Loss vs. Specialized Optimization: A Comparative Analysis in Multi-Task
    Learning", Gama and Grassi, 2025, https://arxiv.org/abs/2505.10347, section 3.5: the weights of
    a run are averaged per epoch and smoothed by an exponential mean with decay 0.9. A new run uses the
    last value.
    Differs from the paper: weights are normalised to sum to m unless `normalise` is false. Otherwise
    weights of a method such as Nash-MTL would carry the inverse scale of the gradients.
    State: weights `[m]`. Scale: weights sum to m by default. Cost: one plain backward pass.

    Args:
        weights: one number for each task. Training commands also accept `log`, the `metrics.jsonl` of
            a run, with `key` and `decay`, and average the weights in that file.
        normalise: scale the weights to sum to m.
    """

    needs = Needs.NOTHING
    weighs_losses = True
    example_options: ClassVar[dict[str, Any]] = {"weights": [1.0, 1.0]}
    informed = "weights"
    paper = (
        'after "Uniform Loss vs. Specialized Optimization: A Comparative Analysis in '
        'Multi-Task Learning", Gama and Grassi, 2025, https://arxiv.org/abs/2505.10347'
    )
    scale = "weights sum to m"
    checked_against = "by hand, authors' code"
    differs = "normalised by default"

    def __init__(
        self,
        num_tasks: int,
        num_shared: int,
        *,
        seed: int = 0,
        weights: Sequence[float] = (),
        normalise: bool = True,
    ) -> None:
        super().__init__(num_tasks, num_shared, seed=seed)
        values = torch.tensor([float(weight) for weight in weights], dtype=torch.float64)
        if len(values) != num_tasks or not torch.isfinite(values).all() or (values < 0).any():
            raise ValueError(
                f"Fixed weights should be {num_tasks} finite numbers, none negative. Found"
                f" {values.tolist()}. Give one weight for each task."
            )
        if normalise:
            values = values * (num_tasks / values.sum().clamp_min(1e-300))
        self.fixed: Tensor
        self.register_buffer("fixed", values)

    @classmethod
    def example_tasks(cls, options: dict[str, Any]) -> int:
        """The number of weights, or 2 if there are none."""
        return len(options.get("weights", ())) or 2

    def task_weights(self, signals: Signals) -> Tensor:
        """The weights, `[m]`."""
        return self.fixed.clone()
