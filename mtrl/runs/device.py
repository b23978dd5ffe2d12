"""Where a run computes: the option `device`, for every kind of training."""

from __future__ import annotations

import torch


def check_device(name: str) -> None:
    """Refuse `cuda` where there is none.

    Raises:
        ValueError: torch finds no GPU.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("`device` is cuda, but torch finds no GPU. Use `device=auto` or `cpu`.")


def pick_device(name: str) -> torch.device:
    """`auto` takes a GPU when there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
