"""Balancing of task gradients: one package for reinforcement and supervised learning.

>>> import torch
>>> from mtrl.balancing import METHODS, Signals, build
>>> method = build("pivrg", num_tasks=2, num_shared=3)
>>> jacobian = torch.tensor([[1.0, 0.0, 1.0], [0.0, 2.0, 1.0]])
>>> success = torch.tensor([0.9, 0.1])
>>> direction = method.aggregate(Signals(jacobian=jacobian, performance=success))
>>> direction.shape
torch.Size([3])

A method is one class in one file of `methods/`, registered by one line in `METHODS`; its keyword
arguments are its options. The package knows torch, numpy and scipy; no model, no simulator, no Ray.
"""

from __future__ import annotations

import difflib
import inspect
from importlib.metadata import entry_points

from mtrl.balancing.balancer import Balancer
from mtrl.balancing.base import Aggregator, Needs, Performance, Signals, Weighting
from mtrl.balancing.gradients import TaskGradients, task_gradients
from mtrl.balancing.methods.ls import LS
from mtrl.balancing.methods.pivrg import PIVRG
from mtrl.balancing.methods.sam_gs import SAMGS

__all__ = [
    "METHODS",
    "Aggregator",
    "Balancer",
    "Needs",
    "Performance",
    "Signals",
    "TaskGradients",
    "Weighting",
    "build",
    "check_options",
    "method_class",
    "method_options",
    "task_gradients",
]

METHODS: dict[str, type[Aggregator]] = {
    "ls": LS,
    "pivrg": PIVRG,
    "sam_gs": SAMGS,
}


def build(
    name: str, num_tasks: int, num_shared: int, *, seed: int = 0, **options: object
) -> Aggregator:
    """Make a balancing method.

    Args:
        name: a key of :data:`METHODS`, or of the entry-point group `mtrl.methods`.
        num_tasks: m.
        num_shared: n, the number of shared parameters.
        seed: of the method's own random numbers.
        **options: the method's keyword arguments.

    Raises:
        ValueError: an unknown method or option, or an option out of range.
    """
    check_options(name, options)
    return method_class(name)(num_tasks, num_shared, seed=seed, **options)  # type: ignore[arg-type]


def method_class(name: str) -> type[Aggregator]:
    """The class of a method, built in or from a plug-in.

    Raises:
        ValueError: no such method; the message names the closest.
    """
    if name in METHODS:
        return METHODS[name]
    plugins = {point.name: point for point in entry_points(group="mtrl.methods")}
    if name in plugins:
        return plugins[name].load()
    known = sorted({*METHODS, *plugins})
    close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.4)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ValueError(
        f"Unknown balancing method {name!r}. Expected one of {', '.join(known)}.{hint}"
    )


def method_options(name: str) -> dict[str, inspect.Parameter]:
    """The options of a method: its constructor's keyword arguments, without `seed`."""
    parameters = inspect.signature(method_class(name).__init__).parameters
    return {
        key: parameter
        for key, parameter in parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and key != "seed"
    }


def check_options(name: str, options: dict[str, object]) -> None:
    """Raise `ValueError` for an option that the method does not have or whose value it refuses."""
    known = method_options(name)
    for key in options:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            listed = ", ".join(known) if known else "none"
            raise ValueError(
                f"The method {name!r} has no option {key!r}. Its options: {listed}.{hint}"
            )
    try:
        method_class(name)(2, 2, **options)
    except TypeError as error:
        raise ValueError(f"The method {name!r} refuses its options {options}: {error}") from error
