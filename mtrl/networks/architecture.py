"""The interface of all architectures of actor and critics.

Letters: `m` tasks, `b` rows of each task, `e` members (networks side by side; twin critics have two).
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

Acting = Callable[[NDArray], NDArray]
"""Maps observations `[m r, in]` to outputs `[m r, out]` of member 0; row i is of task `i // r`."""


class Architecture(nn.Module, abc.ABC):
    """A network from task-major rows to task-major outputs, `[m, b, in] -> [e, m, b, out]`.

    A subclass builds its modules from `mtrl.networks.layers` and implements :meth:`outputs` as an
    ordinary forward pass. Its :meth:`head_parameters` are the parameters that belong to single tasks.
    All others are *shared*: balancing methods combine the task gradients of them.

    Attributes:
        num_tasks: m.
        members: e.
        head_task_dim: the dimension of the heads' parameters that indexes tasks.
    """

    head_task_dim = 1

    def __init__(self, num_tasks: int, members: int) -> None:
        super().__init__()
        self.num_tasks = num_tasks
        self.members = members

    @abc.abstractmethod
    def outputs(self, rows: Tensor) -> Tensor:
        """The forward pass, `[m, b, in] -> [e, m, b, out]`."""

    @abc.abstractmethod
    def head_parameters(self) -> dict[str, nn.Parameter]:
        """The heads' parameters by name; each slice belongs to one task. Empty if there are none."""

    def shared_parameters(self) -> dict[str, nn.Parameter]:
        """All other parameters by name."""
        heads = self.head_parameters()
        return {name: p for name, p in self.named_parameters() if name not in heads}

    def forward(self, rows: Tensor, shared: Mapping[str, Tensor] | None = None) -> Tensor:
        """Apply the network.

        Args:
            rows: `[m, b, in]`.
            shared: values that replace the shared parameters. Each has the shape of its parameter, or
                is `parameter.expand(m, ...)`; then each task gets a separate gradient
                (`mtrl.balancing.gradients`).
        """
        if shared is None:
            return self.outputs(rows)
        return functional_call(self, dict(shared), (rows,))

    def acting(self, rows_per_task: int) -> Acting:
        """A forward pass for workers, without gradients, with the current values of the parameters.

        An architecture may return a faster function whose results are equal up to rounding.
        """
        m = self.num_tasks

        @torch.inference_mode()
        def act(rows: NDArray) -> NDArray:
            by_task = torch.from_numpy(rows).view(m, rows_per_task, -1)
            return self.outputs(by_task)[0].flatten(0, 1).numpy()

        return act
