"""From a name in a config to a benchmark with its options."""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import sys
from importlib.metadata import entry_points
from pathlib import Path

from mtrl.supervised.config import SupervisedConfig
from mtrl.supervised.problem import Benchmark, Problem
from mtrl.supervised.problems import PROBLEMS


def make_problem(config: SupervisedConfig) -> Benchmark:
    """The benchmark with its options.

    Raises:
        ValueError: unknown problem or option, or a value that it refuses.
    """
    kind = _problem_class(config.problem)
    known = {
        name
        for name, parameter in inspect.signature(kind.__init__).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    options = dict(config.problem_options)
    for key in options:
        if key not in known - {"data_root"}:
            listed = ", ".join(sorted(known - {"data_root"})) or "none"
            close = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ValueError(
                f"The problem {config.problem!r} has no option {key!r}. Its options: {listed}.{hint}"
            )
    if "data_root" in known:
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


def _problem_class(name: str) -> type[Benchmark]:
    if name in PROBLEMS:
        return PROBLEMS[name]
    file, separator, attribute = name.rpartition(":")
    if separator and file.endswith(".py"):
        return _from_file(Path(file), attribute)
    plugins = {point.name: point for point in entry_points(group="mtrl.problems")}
    if name in plugins:
        return plugins[name].load()
    known = sorted({*PROBLEMS, *plugins})
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ValueError(
        f"Unknown problem {name!r}. Expected one of {', '.join(known)}, or FILE.py:Class.{hint}"
    )


def _from_file(path: Path, attribute: str) -> type[Problem]:
    if not path.is_file():
        raise ValueError(f"`problem` names the file {path}, which does not exist.")
    spec = importlib.util.spec_from_file_location(f"mtrl_problem_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    found = getattr(module, attribute, None)
    if not (isinstance(found, type) and issubclass(found, Problem)):
        raise ValueError(
            f"{path} should hold a class {attribute!r} derived from mtrl.supervised.Problem."
        )
    return found
