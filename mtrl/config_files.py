"""Config files: found by path or by the name of a preset, read with those that they extend."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from mtrl.errors import ConfigError, suggest

# `mtrl/configs` is a link to `configs/` in a checkout; a wheel holds the files themselves.
PRESETS = Path(__file__).parent / "configs"
_MAX_DEPTH = 10


def find_file(name: str | Path) -> Path:
    """A file by path, or a preset by its name below `configs/`.

    Raises:
        ConfigError: no such file; the message lists close presets.
    """
    path = Path(name)
    candidates = [path, PRESETS / path, PRESETS / f"{name}.yaml"]
    # `configs/mt10/quick.yaml` works from any folder, not only from a checkout's root.
    if path.parts[:1] == ("configs",):
        candidates.append(PRESETS.joinpath(*path.parts[1:]))
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    for candidate in candidates:
        if candidate.is_dir():
            files = candidate.rglob("*.yaml")
            inside = sorted(str(path / file.relative_to(candidate)) for file in files)
            listed = f" Name a file in it: {', '.join(inside)}." if inside else ""
            raise ConfigError(f"{str(name)!r} is a folder, not a config file.{listed}")
    presets = sorted(str(p.relative_to(PRESETS).with_suffix("")) for p in PRESETS.rglob("*.yaml"))
    hint = suggest(name, presets, count=3)
    if path.parent.name == "method":
        hint = f" A method needs no preset: write method={path.stem}.{hint}"
    elif not hint:
        hint = f" Presets: {', '.join(presets)}."
    raise ConfigError(f"No config file {str(name)!r}.{hint}")


def read_chain(path: Path, depth: int = 0) -> list[tuple[Path, dict[str, Any]]]:
    """A file after those that it extends, the base first: paths with their content.

    Raises:
        ConfigError: a file cannot be read, or extends what is not there.
    """
    if depth > _MAX_DEPTH:
        raise ConfigError(f"{path}: `extends` goes in a circle, or deeper than {_MAX_DEPTH} files.")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"Cannot read {path}: {error}.") from error
    content = _parse(text, str(path))
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path} should hold `key: value` pairs. Found {type(content).__name__}.")
    base = content.pop("extends", None)
    if base is None:
        return [(path, content)]
    if not isinstance(base, str):
        raise ConfigError(f"{path}: `extends` should be a file name. Found {base!r}.")
    found = path.parent / base
    if not found.is_file():
        raise ConfigError(f"{path} extends {base!r}, which is not beside it.")
    return [*read_chain(found, depth + 1), (path, content)]


def _parse(text: str, where: str) -> Any:
    try:
        return _plain(_yaml().load(text))
    except YAMLError as error:
        place = ""
        if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
            place = f" (line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1})"
        raise ConfigError(f"{where} is not valid YAML: {_problem(error)}{place}.") from error


def parse_value(override: str, text: str) -> Any:
    """The value of an override, in YAML.

    Args:
        override: the whole, for the message.
        text: what stands after `=`.

    Raises:
        ConfigError: it is not YAML.
    """
    try:
        return _plain(_yaml().load(text))
    except YAMLError as error:
        raise ConfigError(
            f"The value of {override!r} is not valid YAML: {_problem(error)}. Quote an override for the"
            " shell if it holds blanks or brackets: 'env.tasks=[reach-v3, push-v3]'."
        ) from error


def _problem(error: YAMLError) -> str:
    """What is wrong, without the parser's excerpts and its advice to switch checks off."""
    return str(getattr(error, "problem", None) or error)


def dump(values: Mapping[str, Any]) -> str:
    """Values as YAML."""
    stream = io.StringIO()
    _yaml().dump(values, stream)
    return stream.getvalue()


def _yaml() -> YAML:
    yaml = YAML(typ="safe", pure=True)  # YAML 1.2: `1e-4` is a number, `no` is a word
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    return yaml


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)  # `2e6` is a good way to write a whole number
    return value
