"""One trunk and one output layer, both shared by all tasks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mtrl.networks.architecture import Acting
from mtrl.networks.fast_acting import trunk_acting
from mtrl.networks.layers import TaskLinear
from mtrl.networks.trunk_network import TrunkNetwork


class SingleHead(TrunkNetwork):
    """The single-head network of MTL-SAC: all parameters are shared."""

    def build_heads(
        self, width: int, out_features: int, bound: float, product_dtype: torch.dtype | None
    ) -> None:
        """One output layer."""
        self.head = TaskLinear(
            self.members, width, out_features, bound=bound, product_dtype=product_dtype
        )

    def head_parameters(self) -> dict[str, nn.Parameter]:
        """No parameters: the output layer is shared."""
        return {}

    def outputs(self, rows: Tensor) -> Tensor:
        """Apply the trunk, then the output layer."""
        m, b, _ = rows.shape
        return self.head(self.features(rows)).to(rows.dtype).view(self.members, m, b, -1)

    def acting(self, rows_per_task: int) -> Acting:
        """The fast forward pass of :func:`trunk_acting`."""
        m, head = self.num_tasks, self.head
        heads = (p.detach()[0].expand(m, -1, -1) for p in (head.weight, head.bias))
        return trunk_acting(self.trunk, m, rows_per_task, self.task_one_hot, tuple(heads))
