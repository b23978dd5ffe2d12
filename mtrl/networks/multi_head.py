"""One trunk shared by all tasks, and one linear head per task."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mtrl.networks.architecture import Acting
from mtrl.networks.fast_acting import trunk_acting
from mtrl.networks.trunk_network import TrunkNetwork


class MultiHead(TrunkNetwork):
    """The multi-head network of MTL-SAC. Source: "Meta-World" (arXiv 1910.10897), section 4.

    Heads compute in the type of the rows; `product_dtype` affects the trunk only.
    """

    def build_heads(
        self, width: int, out_features: int, bound: float, product_dtype: torch.dtype | None
    ) -> None:
        """A weight and a bias for each task."""
        weight = torch.empty(self.members, self.num_tasks, width, out_features)
        self.head_weight = nn.Parameter(weight.uniform_(-bound, bound))
        self.head_bias = nn.Parameter(torch.zeros(self.members, self.num_tasks, 1, out_features))

    def head_parameters(self) -> dict[str, nn.Parameter]:
        """Weights and biases of the heads."""
        return {"head_weight": self.head_weight, "head_bias": self.head_bias}

    def outputs(self, rows: Tensor) -> Tensor:
        """Apply the trunk, then to each task's rows its head."""
        m, b, _ = rows.shape
        outputs = torch.baddbmm(
            self.head_bias.flatten(0, 1),
            self.features(rows).view(self.members * m, b, -1),
            self.head_weight.flatten(0, 1),
        )
        return outputs.view(self.members, m, b, -1)

    def acting(self, rows_per_task: int) -> Acting:
        """The fast forward pass of :func:`trunk_acting`."""
        heads = self.head_weight.detach()[0], self.head_bias.detach()[0]
        return trunk_acting(self.trunk, self.num_tasks, rows_per_task, self.task_one_hot, heads)
