"""From files and overrides to a typed configuration, with the origin of every value.

Layers, later ones win: the dataclasses' defaults, files (each after the file that it `extends`),
`key=value` overrides. Files state only what differs from what they extend. Everything is strict: an
unknown key is refused with the closest known one, types are checked, ranges too.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pydantic

from mtrl.config_files import dump, find_file, parse_value, read_chain
from mtrl.errors import ConfigError, suggest

T = TypeVar("T")


@dataclass(frozen=True)
class Resolved(typing.Generic[T]):
    """A configuration with where each value came from.

    Attributes:
        config: the typed configuration.
        values: the same as nested plain values.
        origins: dotted key -> `default`, a file's path, or `command line`.
    """

    config: T
    values: dict[str, Any]
    origins: dict[str, str]

    def of(self, config: T) -> Resolved[T]:
        """The same with another configuration, derived from this one."""
        return Resolved(config, dataclasses.asdict(config), self.origins)  # type: ignore[call-overload]

    def to_yaml(self) -> str:
        """The resolved values as YAML; loading it gives the same configuration."""
        return dump(self.values)

    def to_json(self) -> str:
        """Dotted key -> value and origin, as JSON."""
        rows = flatten(self.values)
        return json.dumps({key: {"value": v, "origin": self.origins[key]} for key, v in rows})

    def to_table(self) -> str:
        """A line for every dotted key: its value and its origin."""
        return "\n".join(
            f"{key:40} {json.dumps(value):32} {self.origins[key]}"
            for key, value in flatten(self.values)
        )


def resolve(
    schema: type[T],
    files: Sequence[str | Path] = (),
    overrides: Sequence[str] = (),
) -> Resolved[T]:
    """Compose a configuration.

    Args:
        schema: the dataclass to fill; its `example`, a preset, is advised where nothing is given.
        files: laid over one another in order; a preset can be named as `mt10/quick`.
        overrides: `dotted.key=value`, values in YAML (`sac.batch_size=64`, `env.tasks=[reach-v3]`).

    Raises:
        ConfigError: a file or a value is wrong.
    """
    merged = _Layers(schema)
    for file in files:
        for path, content in read_chain(find_file(file)):
            merged.lay(content, str(path))
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not key:
            raise ConfigError(
                "An override should read `key=value`, without blanks around `=`, for example"
                f" `method=sam_gs`. Found {override!r}.{_perhaps_a_file(override)}"
            )
        value: Any = parse_value(override, text)
        for part in reversed(key.split(".")):
            value = {part: value}
        merged.lay(value, "command line")
    return merged.build()


def fits(schema: type, file: str | Path) -> bool:
    """Whether a file, with those that it extends, holds only keys of a schema."""
    layers = _Layers(schema)
    try:
        for path, content in read_chain(find_file(file)):
            layers.lay(content, str(path))
    except ConfigError:
        return False
    return True


def closest_key(schema: type, name: str) -> str | None:
    """The dotted key that is, or that ends with, `name`."""
    known = _known_keys(schema)
    return next((key for key in known if name in (key, key.rpartition(".")[2])), None)


class _Layers:
    def __init__(self, schema: type) -> None:
        self.schema = schema
        self.values: dict[str, Any] = {}
        self.origins: dict[str, str] = {}

    def lay(self, content: Mapping[str, Any], origin: str) -> None:
        """Lay values over what is there, after checking their keys."""
        _check_keys(self.schema, content, "", origin)
        # Options belong to the method (or problem) named with them; another's do not carry over.
        for owner in ("method", "problem"):
            options = f"{owner}_options"
            changes = owner in content and content[owner] != self.values.get(owner)
            if changes and options in self.values:
                self.values[options] = {}
                self.origins = {
                    k: v for k, v in self.origins.items() if not k.startswith(f"{options}.")
                }
        self._merge(self.values, content, "", origin)

    def build(self) -> Resolved:
        for key, value in flatten(self.values):
            numbers = value if isinstance(value, list) else [value]
            if any(isinstance(x, float) and not math.isfinite(x) for x in numbers):
                raise ConfigError(
                    f"`{key}` is {value}{_where(key, self.origins)}: a number should be finite."
                )
        try:
            adapter = pydantic.TypeAdapter(self.schema)
            # Strict JSON takes objects for dataclasses, yet no string for a number.
            config = adapter.validate_json(json.dumps(self.values), strict=True)
        except pydantic.ValidationError as error:
            example = getattr(self.schema, "example", None)
            raise ConfigError(_explain(error, self.origins, example)) from None
        values = dataclasses.asdict(config)  # type: ignore[call-overload]
        origins = {key: self.origins.get(key, "default") for key, _ in flatten(values)}
        return Resolved(config, values, origins)

    def _merge(self, into: dict, content: Mapping, prefix: str, origin: str) -> None:
        for key, value in content.items():
            path = f"{prefix}{key}"
            if isinstance(value, Mapping):
                if not isinstance(into.get(key), dict):
                    into[key] = {}
                    self.origins.pop(path, None)
                self._merge(into[key], value, f"{path}.", origin)
            else:
                into[key] = value
                self.origins[path] = origin


def flatten(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Dotted keys and their values, in order."""
    flat: list[tuple[str, Any]] = []
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat.extend(flatten(value, f"{prefix}{key}."))
        else:
            flat.append((f"{prefix}{key}", value))
    return flat


def _perhaps_a_file(name: str) -> str:
    try:
        find_file(name)
    except ConfigError:
        return ""
    return f" It is a config file: write `-c {name}`."


def _check_keys(schema: type, content: Mapping[str, Any], prefix: str, origin: str) -> None:
    fields = _fields(schema)
    for key, value in content.items():
        path = f"{prefix}{key}"
        if key not in fields:
            hint = suggest(path, _known_keys(schema, prefix))
            if not (hint or prefix) and (moved := closest_key(schema, key)):  # another section's
                hint = f" Did you mean {moved!r}?"
            listed = ", ".join(fields)
            raise ConfigError(
                f"Unknown key `{path}` ({origin}).{hint or f' Known here: {listed}.'}"
            )
        section = fields[key]
        if dataclasses.is_dataclass(section):
            if not isinstance(value, Mapping):
                raise ConfigError(
                    f"`{path}` is a section with keys {', '.join(_fields(section))}. Found"
                    f" {value!r} ({origin})."
                )
            _check_keys(section, value, f"{path}.", origin)  # type: ignore[arg-type]


def _fields(schema: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(schema)
    return {field.name: hints[field.name] for field in dataclasses.fields(schema)}


def _known_keys(schema: Any, prefix: str = "") -> list[str]:
    keys = []
    for name, kind in _fields(schema).items():
        if dataclasses.is_dataclass(kind) and not isinstance(kind, types.GenericAlias):
            keys.extend(f"{name}.{k}" for k in _known_keys(kind))
        else:
            keys.append(name)
    return [f"{prefix}{k}" for k in keys] if prefix and not keys[0].startswith(prefix) else keys


def _where(key: str, origins: Mapping[str, str]) -> str:
    """` (file or command line)` of a key, or of the first one below it."""
    found = origins.get(key) or next((o for k, o in origins.items() if k.startswith(f"{key}.")), "")
    return f" ({found})" if found else ""


def _explain(
    error: pydantic.ValidationError, origins: Mapping[str, str], example: str | None
) -> str:
    lines = []
    for item in error.errors():
        parts = [str(p) for p in item["loc"] if not _is_branch(p)]
        key = ".".join(parts)
        where = _where(key, origins) or _where(".".join(parts[:-1]), origins)
        if item["type"] == "missing":
            advice = f" Lay a preset under it, for example -c {example}." if example else ""
            lines.append(f"`{key}` is missing.{advice}")
        elif item["type"] == "value_error":  # a check of a section's own, in its own words
            lines.append(str(item.get("ctx", {}).get("error", item["msg"])))
        else:
            several = isinstance(item["input"], list) and item["type"] != "too_short"
            hint = (
                " A run takes one value: start a run for each. (`mtrl supervised` starts them all with"
                f" grid.{key}=[...].)"
                if several
                else ""
            )
            lines.append(f"`{key}` is {item['input']!r}{where}: {item['msg'].lower()}.{hint}")
    return "\n".join(dict.fromkeys(lines))


def _is_branch(part: Any) -> bool:
    # Pydantic names the branches of a union in the location (`str`, `list[str]`).
    return isinstance(part, str) and (part == "str" or part.startswith("list["))
