"""Where a run computes: the option `device`, for every kind of training."""

from __future__ import annotations

import torch
from torch import Tensor


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


def check_precision(precision: str, device: torch.device) -> None:
    """Refuse TF32 where the device has no such products.

    Raises:
        ValueError: it has none.
    """
    if precision == "tf32" and device.type != "cuda":
        raise ValueError(
            f"`precision: tf32` needs a GPU. The device is {device}. Use float32, or bf16."
        )


def set_precision(precision: str) -> None:
    """Let float32 products on a GPU take TF32 where `precision` is tf32, and not elsewhere."""
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """A host tensor on `device`, without waiting for the work that a GPU has been given."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
