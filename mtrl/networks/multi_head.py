"""Trunks shared by all tasks with one linear head per task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mtrl.networks.trunk import Trunk


class TaskNetwork(nn.Module):
    """Task-major rows through a trunk and the task's own head: `[m, b, in] -> [e, m, b, out]`.

    `e` networks of the same shape lie side by side (twin critics are two), so that each layer is one
    product and their trunks have one joint Jacobian. The trunks' parameters are *shared*; slice
    `[:, i]` of the heads' parameters belongs to task i.

    Args:
        num_tasks: m.
        in_features: size of an input row, without the one-hot.
        out_features: size of an output row.
        widths: of the trunk.
        members: e.
        layer_norm: LayerNorm in the trunk.
        task_one_hot: append the task's one-hot to each input row, last.
        heads: `per_task`, or `shared` for one output layer that counts as shared.
        head_init: bound of the uniform initialisation of the output layer.
        product_dtype: see :class:`Trunk`.
    """

    head_task_dim = 1  # the dimension of the heads' parameters that counts tasks

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
        heads: str = "per_task",
        head_init: float = 3e-3,
        product_dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.num_tasks, self.members = num_tasks, members
        self.task_one_hot = task_one_hot
        self.trunk = Trunk(
            members,
            in_features + (num_tasks if task_one_hot else 0),
            widths,
            out_features=out_features if heads == "shared" else None,
            out_bound=head_init,
            layer_norm=layer_norm,
            product_dtype=product_dtype,
        )
        self.head_weight: nn.Parameter | None = None
        self.head_bias: nn.Parameter | None = None
        if heads == "per_task":
            weight = torch.empty(members, num_tasks, widths[-1], out_features)
            self.head_weight = nn.Parameter(weight.uniform_(-head_init, head_init))
            self.head_bias = nn.Parameter(torch.zeros(members, num_tasks, 1, out_features))
        self.one_hot: Tensor
        self.register_buffer("one_hot", torch.eye(num_tasks)[:, None], persistent=False)

    def shared_parameters(self) -> dict[str, nn.Parameter]:
        """The trunks' parameters by name: what balancing methods combine gradients of."""
        return dict(self.trunk.named_parameters())

    def head_parameters(self) -> dict[str, nn.Parameter]:
        """The heads' parameters by name; empty where the output layer is shared."""
        heads = {"head_weight": self.head_weight, "head_bias": self.head_bias}
        return {name: parameter for name, parameter in heads.items() if parameter is not None}

    def forward(self, rows: Tensor, shared: Mapping[str, Tensor] | None = None) -> Tensor:
        """Apply the network to task-major rows.

        Args:
            rows: `[m, b, in]`.
            shared: other values for the trunk's parameters, see :class:`Trunk`.
        """
        m, b, _ = rows.shape
        if self.task_one_hot:
            rows = torch.cat([rows, self.one_hot.expand(m, b, m)], dim=-1)
        features = self.trunk(rows.flatten(0, 1).expand(self.members, -1, -1), shared)
        if self.head_weight is None or self.head_bias is None:
            return features.view(self.members, m, b, -1)
        outputs = torch.baddbmm(
            self.head_bias.flatten(0, 1),
            features.view(self.members * m, b, -1),
            self.head_weight.flatten(0, 1),
        )
        return outputs.view(self.members, m, b, -1)
