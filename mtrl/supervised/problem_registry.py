"""Make the problem that a config names, with its options."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtrl.balancing.options import check_keywords
from mtrl.errors import suggest
from mtrl.plugins import load_file, load_plugin, plugin_names
from mtrl.supervised.problem import BaseProblem, Problem
from mtrl.supervised.problems import PROBLEMS


def make_problem(name: str, options: Mapping[str, Any], data_root: str = "") -> BaseProblem:
    """Make a problem with its options.

    Args:
        name: name of a problem, or `FILE.py:Class`.
        options: options of the problem.
        data_root: folder of the problem's data, if it reads files.

    Raises:
        ValueError: the problem or an option is unknown, or the problem refuses a value.
    """
    kind = _problem_class(name)
    check_keywords(f"The problem {name!r}", kind, options, supplied=("data_root",))
    given = dict(options)
    if "data_root" in inspect.signature(kind).parameters:
        if not data_root:
            raise ValueError(
                f"The problem {name!r} reads files. Name their folder: data_root=FOLDER."
            )
        given["data_root"] = Path(data_root)
    try:
        return kind(**given)
    except TypeError as error:
        raise ValueError(
            f"The problem {name!r} refuses its options {dict(options)}: {error}"
        ) from error


def _problem_class(name: str) -> type[BaseProblem]:
    if name in PROBLEMS:
        return PROBLEMS[name]
    file, separator, attribute = name.rpartition(":")
    if separator and file.endswith(".py"):
        return _from_file(Path(file), attribute)
    plugin = load_plugin("mtrl.problems", name)
    if plugin is not None:
        return _checked(plugin, f"the entry point {name!r} of mtrl.problems")
    known = sorted({*PROBLEMS, *plugin_names("mtrl.problems")})
    raise ValueError(
        f"Unknown problem {name!r}. Expected one of {', '.join(known)}, or FILE.py:Class."
        f"{suggest(name, known)}"
    )


def _from_file(path: Path, attribute: str) -> type[Problem]:
    if not path.is_file():
        raise ValueError(f"`problem` names the file {path}, which does not exist.")
    return _checked(getattr(load_file(path), attribute, None), f"{attribute!r} in {path}")


def _checked(found: object, what: str) -> type[Problem]:
    if not (isinstance(found, type) and issubclass(found, Problem)):
        raise ValueError(
            f"`problem` names {what}, which should be a class derived from mtrl.supervised.Problem."
            f" Found {found!r}."
        )
    return found
