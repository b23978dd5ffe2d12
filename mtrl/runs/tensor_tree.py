"""Trees of values and tensors as two things that files can hold: plain values and named tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

_TENSOR = "$tensor"
_ITEMS = "$items"


def flatten(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """The tree as plain values for JSON; its tensors are copied to `tensors`, named by their place.

    Args:
        value: None, numbers, strings, tensors and arrays, in dictionaries, lists and tuples.
        path: place of the value; empty for the whole tree.
        tensors: is filled, on the CPU.

    Raises:
        TypeError: the tree holds something else.
    """
    if isinstance(value, Tensor):
        tensors[path] = value.detach().to(  # exactly one copy, for every layout and device
            "cpu", copy=True, memory_format=torch.contiguous_format
        )
        return {_TENSOR: path}
    if isinstance(value, np.ndarray):
        return flatten(torch.from_numpy(value), path, tensors)
    if isinstance(value, Mapping):
        items = [[k, flatten(v, f"{path}/{k}", tensors)] for k, v in value.items()]
        if all(isinstance(k, str) for k in value):
            return dict(items)
        return {_ITEMS: items}  # optimisers use integers as keys
    if isinstance(value, list | tuple):
        return [flatten(v, f"{path}/{i}", tensors) for i, v in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"A checkpoint cannot hold {type(value).__name__} (at {path!r}).")


def restore(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The tree that :func:`flatten` was given; tuples return as lists, arrays as tensors."""
    if isinstance(value, dict):
        if _TENSOR in value:
            return tensors[value[_TENSOR]]
        if _ITEMS in value:
            return {k: restore(v, tensors) for k, v in value[_ITEMS]}
        return {k: restore(v, tensors) for k, v in value.items()}
    if isinstance(value, list):
        return [restore(v, tensors) for v in value]
    return value
