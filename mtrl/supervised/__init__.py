"""Supervised multi-task benchmarks on the balancing package that RL uses.

A benchmark is one file with one subclass of :class:`Problem`; the trainer names no benchmark and no
method.
"""

from mtrl.supervised.problem import (
    Batch,
    Metric,
    Model,
    Problem,
    Recipe,
    Split,
    Task,
    TensorData,
    TrunkAndHeads,
)

__all__ = [
    "Batch",
    "Metric",
    "Model",
    "Problem",
    "Recipe",
    "Split",
    "Task",
    "TensorData",
    "TrunkAndHeads",
]
