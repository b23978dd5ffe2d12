"""Make the problem that a config names, with its options."""

from __future__ import annotations

import inspect
from pathlib import Path

from mtrl.balancing.options import check_keywords
from mtrl.errors import suggest
from mtrl.plugins import load_file, load_plugin, plugin_names
from mtrl.supervised.config import SupervisedConfig
from mtrl.supervised.problem import BaseProblem, Problem
from mtrl.supervised.problems import PROBLEMS


def make_problem(config: SupervisedConfig) -> BaseProblem:
    """Make a problem with its options.

    Raises:
        ValueError: the problem or an option is unknown, or the problem refuses a value.
    """
    kind = _problem_class(config.problem)
    options = dict(config.problem_options)
    check_keywords(f"The problem {config.problem!r}", kind, options, supplied=("data_root",))
    if "data_root" in inspect.signature(kind).parameters:
        if not config.data_root:
            raise ValueError(
                f"The problem {config.problem!r} reads files. Name their folder: data_root=FOLDER."
            )
        options["data_root"] = Path(config.data_root)
    try:
        return kind(**options)
    except TypeError as error:
        raise ValueError(
            f"The problem {config.problem!r} refuses its options {config.problem_options}: {error}"
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
