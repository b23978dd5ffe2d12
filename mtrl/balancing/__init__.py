"""Balancing of task gradients: one package for reinforcement and supervised learning.

>>> import torch
>>> from mtrl.balancing import METHODS, Signals, build
>>> method = build("pivrg", num_tasks=2, num_shared=3)
>>> jacobian = torch.tensor([[1.0, 0.0, 1.0], [0.0, 2.0, 1.0]])
>>> success = torch.tensor([0.9, 0.1])
>>> direction = method.aggregate(Signals(jacobian=jacobian, performance=success))
>>> direction.shape
torch.Size([3])

A method is one class in one file of `methods/` and one line in `registry.METHODS`. Its keyword arguments
are its options. The package uses torch, numpy and scipy. It knows no model, no simulator and no Ray.
"""

from mtrl.balancing.balancer import Balancer, Step
from mtrl.balancing.base import Aggregator, Needs, Weighting
from mtrl.balancing.direction import Direction, Weights
from mtrl.balancing.gradients import TaskGradients, task_gradients
from mtrl.balancing.performance_informed import PIOptions
from mtrl.balancing.registry import (
    METHODS,
    arm_name,
    build,
    check_options,
    method_class,
    method_options,
    needs_positive_losses,
    reads_performance,
)
from mtrl.balancing.signals import Performance, Signals

__all__ = [
    "METHODS",
    "Aggregator",
    "Balancer",
    "Direction",
    "Needs",
    "PIOptions",
    "Performance",
    "Signals",
    "Step",
    "TaskGradients",
    "Weighting",
    "Weights",
    "arm_name",
    "build",
    "check_options",
    "method_class",
    "method_options",
    "needs_positive_losses",
    "reads_performance",
    "task_gradients",
]
