"""What stands in for packages that the authors' code imports, and for their random draws."""

from __future__ import annotations

import contextlib
import importlib.abc
import importlib.machinery
import types
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import numpy as np

STAND_INS = {"higher", "hydra", "matplotlib", "mtrl", "omegaconf", "PIL", "seaborn", "tqdm"}
"""Packages that recorded files import and recorded functions never call."""


class Anything(type):
    """The type of empty classes that have every attribute and take any arguments."""

    def __getattr__(cls, name: str) -> Any:
        return anything(name)


def anything(name: str) -> Any:
    """An empty class of that name.

    Raises:
        AttributeError: the name begins with an underscore, as those do that Python asks for.
    """
    if name.startswith("_"):
        raise AttributeError(name)
    return Anything(name, (), {"__init__": lambda self, *_, **__: None})


class StandIn(types.ModuleType):
    """A module in which every name is an empty class."""

    __path__: ClassVar[list[str]] = []

    def __getattr__(self, name: str) -> Any:
        return anything(name)


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds a :class:`StandIn` for the packages of `STAND_INS`."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        if fullname.split(".")[0] not in STAND_INS:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return StandIn(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        pass


@contextlib.contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """`owner.name` is `value` for a while; used for sources of random numbers."""
    known = hasattr(owner, name)
    saved = getattr(owner, name, None)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if known:
            setattr(owner, name, saved)
        else:
            delattr(owner, name)


def shuffle_by(orders: np.ndarray) -> Callable[[list[Any]], None]:
    """A stand-in for `random.shuffle` that follows the rows of `orders`.

    It takes a list of task indices, or of the tasks' gradients in their first order.
    """
    rows, first = iter(orders), []

    def shuffle(items: list[Any]) -> None:
        order = next(rows)
        if isinstance(items[0], int):
            items[:] = [int(task) for task in order if int(task) in items]
            return
        first[:] = first or items
        items[:] = [first[task] for task in order]

    return shuffle
