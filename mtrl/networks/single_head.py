"""One trunk and one output layer, both shared by all tasks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtrl.networks.acting import trunk_acting
from mtrl.networks.architecture import Acting, Architecture
from mtrl.networks.layers import TaskLinear, TaskOneHot
from mtrl.networks.trunk import Trunk


class SingleHead(Architecture):
    """Single-head network of MTL-SAC: all parameters are shared.

    Arguments are those of :class:`mtrl.networks.multi_head.MultiHead`.
    """

    def __init__(
        self,
        num_tasks: int,
        in_features: int,
        out_features: int,
        widths: Sequence[int],
        *,
        members: int = 1,
        layer_norm: bool = False,
        task_one_hot: bool = True,
        head_init: float = 3e-3,
        product_dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(num_tasks, members)
        self.task_one_hot = task_one_hot
        self.inputs = TaskOneHot(num_tasks) if task_one_hot else nn.Identity()
        self.trunk = Trunk(
            members,
            in_features + (num_tasks if task_one_hot else 0),
            widths,
            layer_norm=layer_norm,
            product_dtype=product_dtype,
        )
        self.head = TaskLinear(
            members, widths[-1], out_features, bound=head_init, product_dtype=product_dtype
        )

    def head_parameters(self) -> dict[str, nn.Parameter]:
        """None: the output layer is shared."""
        return {}

    def outputs(self, rows: Tensor) -> Tensor:
        """Trunk, then the one output layer."""
        m, b, _ = rows.shape
        inputs = self.inputs(rows)
        features = self.trunk(inputs.flatten(0, 1).expand(self.members, -1, -1))
        return self.head(features).to(rows.dtype).view(self.members, m, b, -1)

    def acting(self, rows_per_task: int) -> Acting:
        """Few operations on preallocated memory."""
        m, head = self.num_tasks, self.head
        heads = (p.detach()[0].expand(m, -1, -1) for p in (head.weight, head.bias))
        return trunk_acting(self.trunk, m, rows_per_task, self.task_one_hot, tuple(heads))
