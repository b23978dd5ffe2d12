"""Options of benches: fields of a dataclass, which become arguments of the command.

An option that several benches have is declared once, in a dataclass that theirs extend.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from mtrl.errors import USAGE, MtrlError


class BenchError(MtrlError, ValueError):
    """A bench cannot run with these options, or not on this machine."""

    exit_code = USAGE


def option(default: Any, text: str, **arguments: Any) -> Any:
    """A field of a dataclass of options.

    Args:
        default: its value if the command does not name it.
        text: what `--help` says.
        arguments: for `add_argument`, in place of what follows from the field's type. `positional=True`
            makes it an argument without a flag, `flags` adds short ones.
    """
    return dataclasses.field(default=default, metadata={"help": text, **arguments})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seeded:
    """Options of a bench that draws random numbers."""

    seed: int = option(0, "of all random numbers")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Simulation(Seeded):
    """Options of a bench that steps environments."""

    tasks: str = option("mt10", "mt10, mt25, mt50, or names of tasks separated by commas")

    def task_names(self) -> list[str]:
        """Names of the tasks.

        Raises:
            BenchError: a name is unknown.
        """
        from mtrl.envs.suites import split_tasks, task_names

        try:
            return task_names(split_tasks(self.tasks))
        except ValueError as error:
            raise BenchError(str(error)) from error


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layers:
    """The size of actor and critics."""

    width: int = option(400, "of each layer")
    depth: int = option(3, "layers of each trunk")

    @property
    def widths(self) -> list[int]:
        """Of the layers."""
        return [self.width] * self.depth


@dataclasses.dataclass(frozen=True, kw_only=True)
class LearnerSize(Layers, Seeded):
    """The size of a learner's networks and batches."""

    batch: int = option(128, "transitions per task")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LearnerOptions(LearnerSize):
    """Options of a bench that updates a learner."""

    tasks: int = option(10, "number of tasks")
    layer_norm: bool = option(False, "LayerNorm in actor and critics")
    rounds: int = option(12, "in which what is compared takes turns")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LearnerOnCPU(LearnerOptions):
    """Options of a bench that updates a learner with the memory handling of a training, or without."""

    fresh_memory: bool = option(False, "let the system take freed memory back")


def add_arguments(parser: argparse.ArgumentParser, kind: type) -> None:
    """Add an argument for each field of a dataclass of options."""
    types = get_type_hints(kind)
    for field in dataclasses.fields(kind):
        given = {k: v for k, v in field.metadata.items() if k not in ("positional", "flags")}
        arguments = _arguments(types[field.name], field.default) | given
        if field.metadata.get("positional"):
            parser.add_argument(field.name, **arguments)
            continue
        flags = [*field.metadata.get("flags", ()), "--" + field.name.replace("_", "-")]
        parser.add_argument(*flags, dest=field.name, **arguments)


def from_arguments(kind: Any, parsed: argparse.Namespace) -> Any:
    """A dataclass of options with the values that were parsed."""
    return kind(**{f.name: getattr(parsed, f.name) for f in dataclasses.fields(kind)})


def _arguments(kind: Any, default: Any) -> dict[str, Any]:
    """What `add_argument` needs for a value of a type."""
    if kind is bool:
        return {"action": "store_true"}
    arguments: dict[str, Any] = {"default": default}
    if get_origin(kind) is tuple:
        return arguments | {"type": _several(get_args(kind)[0]), "metavar": "A,B,..."}
    if get_origin(kind) is Literal:
        return arguments | {"choices": get_args(kind)}
    if get_origin(kind) is UnionType:  # with None
        kind = get_args(kind)[0]
    if get_origin(kind) is list:
        kind = get_args(kind)[0]
    return arguments | {"type": kind} | ({"metavar": "FOLDER"} if kind is Path else {})


def _several(kind: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    def values(text: str) -> tuple[Any, ...]:
        return tuple(kind(part) for part in text.split(","))

    values.__name__ = f"{getattr(kind, '__name__', kind)} list"  # argparse shows it
    return values
