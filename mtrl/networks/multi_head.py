"""A trunk shared by all tasks with one linear head per task, and an ensemble of such networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from mtrl.networks.mlp import mlp


class TaskNetwork(nn.Module):
    """Task-major rows through one trunk and the task's own head: `[m, b, in] -> [m, b, out]`.

    The trunk's parameters are *shared*; slice i of the heads' parameters belongs to task i.

    Args:
        num_tasks: m.
        in_features: size of an input row, without the one-hot.
        out_features: size of an output row.
        widths: of the trunk.
        layer_norm: LayerNorm in the trunk.
        task_one_hot: append the task's one-hot to each input row, last.
        heads: `per_task`, or `shared` for one output layer that counts as shared.
        head_init: bound of the uniform initialisation of the output layer.
    """

    head_task_dim = 0  # the dimension of the heads' parameters that counts tasks

    def __init__(
        self,
        num_tasks: int,
        in_features: int,
        out_features: int,
        widths: Sequence[int],
        *,
        layer_norm: bool = False,
        task_one_hot: bool = True,
        heads: str = "per_task",
        head_init: float = 3e-3,
    ) -> None:
        super().__init__()
        self.num_tasks = num_tasks
        self.task_one_hot = task_one_hot
        inputs = in_features + (num_tasks if task_one_hot else 0)
        self.trunk = mlp(inputs, widths, layer_norm=layer_norm)
        self.head_weight: nn.Parameter | None = None
        self.head_bias: nn.Parameter | None = None
        if heads == "shared":
            output = nn.Linear(widths[-1], out_features)
            nn.init.uniform_(output.weight, -head_init, head_init)
            nn.init.zeros_(output.bias)
            self.trunk.append(output)
        else:
            weight = torch.empty(num_tasks, widths[-1], out_features)
            self.head_weight = nn.Parameter(weight.uniform_(-head_init, head_init))
            self.head_bias = nn.Parameter(torch.zeros(num_tasks, 1, out_features))

    def shared_parameters(self) -> dict[str, nn.Parameter]:
        """The trunk's parameters by name: what balancing methods combine gradients of."""
        return dict(self.trunk.named_parameters())

    def head_parameters(self) -> dict[str, nn.Parameter]:
        """The heads' parameters by name; empty where the output layer is shared."""
        heads = {"head_weight": self.head_weight, "head_bias": self.head_bias}
        return {name: parameter for name, parameter in heads.items() if parameter is not None}

    def forward(self, rows: Tensor, shared: Mapping[str, Tensor] | None = None) -> Tensor:
        """Apply the network to task-major rows.

        Args:
            rows: `[m, b, in]`.
            shared: other values for the trunk's parameters, of their own shape, or with a leading
                dimension m: then task i runs through slice i (see `mtrl.balancing.gradients`).
        """
        if self.task_one_hot:
            one_hot = torch.eye(self.num_tasks, dtype=rows.dtype, device=rows.device)
            rows = torch.cat([rows, one_hot[:, None].expand(-1, rows.shape[1], -1)], dim=-1)
        features = self._features(rows, shared)
        if self.head_weight is None or self.head_bias is None:
            return features
        return torch.baddbmm(self.head_bias, features, self.head_weight)

    def _features(self, rows: Tensor, shared: Mapping[str, Tensor] | None) -> Tensor:
        if shared is None:
            return self.trunk(rows)

        def run(parameters: dict[str, Tensor], rows: Tensor) -> Tensor:
            return functional_call(self.trunk, parameters, (rows,))

        name, own = next(self.trunk.named_parameters())
        per_task = shared[name].dim() > own.dim()
        return (vmap(run) if per_task else run)(dict(shared), rows)


class TaskEnsemble(nn.Module):
    """Networks of the same shape side by side: `[m, b, in] -> [e, m, b, out]`.

    Twin critics are one ensemble, so that their trunks have one joint Jacobian.
    """

    head_task_dim = 0

    def __init__(self, members: Sequence[TaskNetwork]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def shared_parameters(self) -> dict[str, nn.Parameter]:
        """The trunks' parameters, as `<member>.<name>`."""
        return self._named(TaskNetwork.shared_parameters)

    def head_parameters(self) -> dict[str, nn.Parameter]:
        """The heads' parameters, as `<member>.<name>`."""
        return self._named(TaskNetwork.head_parameters)

    def forward(self, rows: Tensor, shared: Mapping[str, Tensor] | None = None) -> Tensor:
        """Apply every member to the same rows; `shared` as in :class:`TaskNetwork`."""
        outputs = []
        for i, member in enumerate(self.members):
            own = None
            if shared is not None:
                own = {
                    name.removeprefix(f"{i}."): value
                    for name, value in shared.items()
                    if name.startswith(f"{i}.")
                }
            outputs.append(member(rows, own))
        return torch.stack(outputs)

    def _named(self, of) -> dict[str, nn.Parameter]:
        return {
            f"{i}.{name}": parameter
            for i, member in enumerate(self.members)
            for name, parameter in of(member).items()
        }
