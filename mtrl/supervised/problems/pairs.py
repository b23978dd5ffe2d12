"""Multi-MNIST tasks: two images on one canvas; classify or reconstruct the left or the right one.

Source: Sabour et al., 2017, in the form of Gama and Grassi. The name of a variant lists its tasks:
`CL_RR` is classify left, reconstruct right.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from mtrl.supervised.problem import Metric, Task, TensorData
from mtrl.supervised.task_metrics import accuracy, squared_error

ACCURACY = Metric("accuracy", True, accuracy)
SQUARED_ERROR = Metric("mse", False, squared_error)
TASKS = {
    "CL": Task("CL", functional.cross_entropy, (ACCURACY,)),
    "CR": Task("CR", functional.cross_entropy, (ACCURACY,)),
    "RL": Task("RL", functional.mse_loss, (SQUARED_ERROR,)),
    "RR": Task("RR", functional.mse_loss, (SQUARED_ERROR,)),
}


def tasks_of(variant: str) -> tuple[Task, ...]:
    """The tasks of a variant.

    Raises:
        ValueError: an unknown task, or one named twice.
    """
    names = variant.split("_")
    if not set(names) <= set(TASKS) or len(set(names)) < len(names):
        raise ValueError(
            f"`variant` should join tasks of {', '.join(TASKS)} by _, each once. Found {variant!r}."
            " For example CL_RR."
        )
    return tuple(TASKS[name] for name in names)


def overlay(left: Tensor, right: Tensor, offset: int, canvas: int) -> Tensor:
    """Put images `[N, s, s]` at (0, 0) and (offset, offset) on a canvas `[N, canvas, canvas]`.

    Where they overlap, the brighter pixel is kept.
    """
    size = left.shape[-1]
    result = left.new_zeros(len(left), canvas, canvas)
    result[:, :size, :size] = left
    window = result[:, offset : offset + size, offset : offset + size]
    window.copy_(torch.maximum(window, right))
    return result


def pair_data(
    inputs: Tensor, left: Tensor, right: Tensor, classes: tuple[Tensor, Tensor], variant: str
) -> TensorData:
    """Inputs with the targets of a variant's tasks.

    Args:
        inputs: `[N, 1, h, w]`.
        left: left images, `[N, s, s]`.
        right: right images, `[N, s, s]`.
        classes: classes of the left and of the right images, each `[N]`.
        variant: names of the tasks, joined by `_`.
    """
    targets = {"CL": classes[0], "CR": classes[1], "RL": left.flatten(1), "RR": right.flatten(1)}
    return TensorData(inputs, [targets[name] for name in variant.split("_")])


def pair_head(task: Task, features: int, hidden: dict[str, int], pixels: int) -> nn.Module:
    """A head of two layers; its output is ten classes, or pixels after a sigmoid.

    Args:
        task: one of :data:`TASKS`.
        features: width of the trunk's output.
        hidden: width between the layers, for `C` (classify) and `R` (reconstruct).
        pixels: number of pixels of an image.
    """
    kind = task.name[0]
    width, outputs = hidden[kind], 10 if kind == "C" else pixels
    layers: list[nn.Module] = [nn.Linear(features, width), nn.ReLU(), nn.Linear(width, outputs)]
    return nn.Sequential(*layers, *([] if kind == "C" else [nn.Sigmoid()]))
