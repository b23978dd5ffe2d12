"""Base class of architectures with one trunk for all tasks."""

from __future__ import annotations

import abc
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtrl.networks.architecture import Architecture
from mtrl.networks.layers import TaskOneHot
from mtrl.networks.trunk import Trunk


class TrunkNetwork(Architecture):
    """A trunk that all tasks share. A subclass builds the output layers.

    Args:
        num_tasks: m.
        in_features: size of an input row, without the one-hot.
        out_features: size of an output row.
        widths: widths of the trunk's layers.
        members: e.
        layer_norm: put LayerNorm before each ReLU of the trunk.
        task_one_hot: append the task's one-hot to each input row.
        head_init: bound of the uniform initialisation of the output layers.
        product_dtype: see :class:`mtrl.networks.layers.TaskLinear`.
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
        self.build_heads(widths[-1], out_features, head_init, product_dtype)

    @abc.abstractmethod
    def build_heads(
        self, width: int, out_features: int, bound: float, product_dtype: torch.dtype | None
    ) -> None:
        """Make the parameters that map features `[..., width]` to outputs `[..., out]`.

        Args:
            width: size of a feature row.
            out_features: size of an output row.
            bound: bound of the uniform initialisation.
            product_dtype: see :class:`mtrl.networks.layers.TaskLinear`.
        """

    def features(self, rows: Tensor) -> Tensor:
        """The trunk's output, `[m, b, in] -> [e, m b, width]`."""
        return self.trunk(self.inputs(rows).flatten(0, 1).expand(self.members, -1, -1))
