"""Random numbers from a key and a counter: the same numbers on every device."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit integer
_MIX1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX2 = -7723592293110705685  # 0x94D049BB133111EB


class CounterRandom(nn.Module):
    """Random numbers that depend only on a key and a counter.

    Source: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), evaluated at the positions
    `counter, counter + 1, ...` with tensor arithmetic. The state is the buffers `key` and `counter`.
    A `torch.Generator` would give other numbers on another device and cannot be captured in a CUDA
    graph.

    Args:
        seed: any integer.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.key: Tensor
        self.counter: Tensor
        start = torch.tensor(seed % 2**63, dtype=torch.int64)
        self.register_buffer("key", _mix(start * _MIX1 + _GOLDEN))
        self.register_buffer("counter", torch.zeros((), dtype=torch.int64))

    def uniform(self, *shape: int) -> Tensor:
        """Uniform numbers in (0, 1), float64; the counter advances by their count."""
        size = math.prod(shape)
        position = self.counter + torch.arange(1, size + 1, device=self.counter.device)
        self.counter += size
        bits = _mix(self.key + position * _GOLDEN)
        return (_shift(bits, 11).double() + 0.5).mul_(2.0**-53).view(shape)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers, float64, by the Box-Muller transform."""
        first, second = self.uniform(2, *shape)
        return torch.sqrt(-2.0 * first.log()) * torch.cos(2.0 * math.pi * second)

    def permutations(self, count: int, size: int) -> Tensor:
        """`[count, size]`, each row an independent permutation of 0 .. size - 1."""
        return self.uniform(count, size).argsort(dim=1)


def _shift(bits: Tensor, by: int) -> Tensor:
    # Torch shifts signed integers arithmetically; the mask clears the copies of the sign.
    return (bits >> by) & ((1 << (64 - by)) - 1)


def _mix(bits: Tensor) -> Tensor:
    bits = (bits ^ _shift(bits, 30)) * _MIX1
    bits = (bits ^ _shift(bits, 27)) * _MIX2
    return bits ^ _shift(bits, 31)
