"""What a balancing method returns. A bare tensor is enough where there is no more to say."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from mtrl.balancing.adjusted import AdjustedRows
from mtrl.balancing.gradients import TaskGradients


class Weights(NamedTuple):
    """Weights of the tasks, and the rows that the method changed to find them.

    Attributes:
        values: `[m]`.
        adjusted: the changed rows, where the signals ask for diagnostics; None where the method
            combines the task gradients as they are.
    """

    values: Tensor
    adjusted: AdjustedRows | None = None

    @classmethod
    def of(cls, answer: Tensor | Weights) -> Weights:
        """A bare tensor is weights of unchanged rows."""
        return answer if isinstance(answer, Weights) else cls(answer)


class Direction(NamedTuple):
    """A direction to descend, with what it was made of.

    Attributes:
        blocks: one tensor per shared parameter, in the parameter's shape.
        weights: `[m]`; None where the method has no task weights.
        adjusted: see :class:`Weights`.
    """

    blocks: list[Tensor]
    weights: Tensor | None = None
    adjusted: AdjustedRows | None = None

    @classmethod
    def of(cls, answer: Tensor | Direction, gradients: TaskGradients) -> Direction:
        """A bare tensor is a direction `[n]`, to be cut into the shapes of the parameters."""
        return answer if isinstance(answer, Direction) else cls(gradients.split(answer))

    def flat(self) -> Tensor:
        """The direction as one vector, `[n]`."""
        return torch.cat([block.flatten() for block in self.blocks])
