"""Supervised multi-task problems, trained with the same balancing package as RL.

A problem is one file with one subclass of :class:`Problem`. The trainer names no problem and no method.
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
    # Deferred, so that a configuration can be read and refused before the slow import of torch.
    if name in __all__:
        from mtrl.supervised import problem

        return getattr(problem, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
