"""One trunk shared by all tasks, and one linear head per task."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtrl.networks.acting import trunk_acting
from mtrl.networks.architecture import Acting, Architecture
from mtrl.networks.layers import TaskOneHot
from mtrl.networks.trunk import Trunk


class MultiHead(Architecture):
    """Multi-head network of MTL-SAC. Source: "Meta-World" (arXiv 1910.10897), section 4.

    Args:
        num_tasks: m.
        in_features: size of an input row, without the one-hot.
        out_features: size of an output row.
        widths: of the trunk.
        members: e.
        layer_norm: LayerNorm in the trunk.
        task_one_hot: append the task's one-hot to each input row, last.
        head_init: bound of the uniform initialisation of the heads.
        product_dtype: see :class:`mtrl.networks.layers.TaskLinear`; heads keep the rows' type.
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
        weight = torch.empty(members, num_tasks, widths[-1], out_features)
        self.head_weight = nn.Parameter(weight.uniform_(-head_init, head_init))
        self.head_bias = nn.Parameter(torch.zeros(members, num_tasks, 1, out_features))

    def head_parameters(self) -> dict[str, nn.Parameter]:
        """Weights and biases of the heads."""
        return {"head_weight": self.head_weight, "head_bias": self.head_bias}

    def outputs(self, rows: Tensor) -> Tensor:
        """Trunk, then each task's rows through its own head."""
        m, b, _ = rows.shape
        inputs = self.inputs(rows)
        features = self.trunk(inputs.flatten(0, 1).expand(self.members, -1, -1))
        outputs = torch.baddbmm(
            self.head_bias.flatten(0, 1),
            features.view(self.members * m, b, -1),
            self.head_weight.flatten(0, 1),
        )
        return outputs.view(self.members, m, b, -1)

    def acting(self, rows_per_task: int) -> Acting:
        """Few operations on preallocated memory."""
        heads = self.head_weight.detach()[0], self.head_bias.detach()[0]
        return trunk_acting(self.trunk, self.num_tasks, rows_per_task, self.task_one_hot, heads)
