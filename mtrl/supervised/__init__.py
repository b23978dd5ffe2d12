"""Supervised multi-task benchmarks on the balancing package that RL uses.

A benchmark is one file with one subclass of :class:`Problem`; the trainer names no benchmark and no
method.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mtrl.supervised.problem import Batch as Batch
    from mtrl.supervised.problem import Metric as Metric
    from mtrl.supervised.problem import Model as Model
    from mtrl.supervised.problem import Problem as Problem
    from mtrl.supervised.problem import Recipe as Recipe
    from mtrl.supervised.problem import Split as Split
    from mtrl.supervised.problem import Task as Task
    from mtrl.supervised.problem import TensorData as TensorData
    from mtrl.supervised.problem import TrunkAndHeads as TrunkAndHeads

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


def __getattr__(name: str) -> Any:
    # Deferred, so that a configuration is read, and refused, before torch is imported.
    if name in __all__:
        from mtrl.supervised import problem

        return getattr(problem, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
