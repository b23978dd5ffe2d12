"""Operations on many tensors at once: the functions that torch's optimisers are built on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

_torch: Any = torch  # these functions are not in torch's type stubs


def scale_(tensors: Sequence[Tensor], factor: Tensor) -> None:
    """Multiply each tensor by a scalar tensor, in place."""
    _torch._foreach_mul_(list(tensors), factor)


def lerp_(tensors: Sequence[Tensor], others: Sequence[Tensor], weight: Tensor) -> None:
    """Move each tensor towards its partner by the share `weight`, a scalar tensor, in place."""
    step = _torch._foreach_sub(list(others), list(tensors))
    _torch._foreach_mul_(step, weight)
    _torch._foreach_add_(list(tensors), step)
