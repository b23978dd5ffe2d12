"""The options `device` and `precision`, for RL and supervised training."""

from __future__ import annotations

import torch
from torch import Tensor


def check_device(name: str) -> None:
    """Refuse `cuda` on a machine without a GPU.

    Raises:
        ValueError: torch finds no GPU.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("`device` is cuda, but torch finds no GPU. Use `device=auto` or `cpu`.")


def pick_device(name: str) -> torch.device:
    """The device of a name; `auto` takes a GPU if there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def check_precision(precision: str, device: torch.device) -> None:
    """Refuse TF32 on a device without TF32 products.

    Raises:
        ValueError: the device is not a GPU.
    """
    if precision == "tf32" and device.type != "cuda":
        raise ValueError(
            f"`precision: tf32` needs a GPU. The device is {device}. Use float32, or bf16."
        )


def set_precision(precision: str) -> None:
    """Let float32 products on a GPU use TF32 if `precision` is tf32; otherwise forbid it."""
    torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a host tensor to `device` without waiting for work that is queued on a GPU."""
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
