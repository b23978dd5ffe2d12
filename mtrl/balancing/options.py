"""Check the names and types of options against the keyword arguments that take them."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from mtrl.errors import suggest

_NAMES = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}


def check_keywords(
    owner: str,
    call: Callable[..., Any],
    options: Mapping[str, object],
    *,
    supplied: Sequence[str] = (),
) -> None:
    """Raise `ValueError` for an option of a name or type that `call` does not take.

    Args:
        owner: owner of the options, for the message.
        call: a callable whose annotated keyword arguments are the options.
        options: the options to check.
        supplied: arguments that the program passes itself; they are not options.
    """
    known = [
        name
        for name, parameter in inspect.signature(call).parameters.items()
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        and name not in supplied
    ]
    hints = _hints(call)
    for key, value in options.items():
        if key not in known:
            listed = ", ".join(known) or "none"
            raise ValueError(
                f"{owner} has no option {key!r}. Its options: {listed}.{suggest(key, known)}"
            )
        if not _fits(value, hints.get(key, Any)):
            raise ValueError(
                f"The option {key!r} of {_small(owner)} should be {_name(hints[key])}. Found"
                f" {value!r}."
            )


def _hints(call: Callable[..., Any]) -> dict[str, Any]:
    function = call.__init__ if isinstance(call, type) else call
    try:
        return typing.get_type_hints(function)
    except NameError:  # a plug-in may import types for a type checker only
        return {}


def _fits(value: object, hint: Any) -> bool:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, part) for part in inner)
    if origin is Literal:
        return value in inner
    if origin in (Sequence, list, tuple):
        items = isinstance(value, list | tuple)
        return items and all(_fits(item, inner[0]) for item in typing.cast(Sequence, value))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (bool, str, type(None)):
        return isinstance(value, hint)
    return True


def _name(hint: Any) -> str:
    """A type in words, for messages."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_name(part) for part in inner if part is not type(None))
    if origin is Literal:
        return f"one of {', '.join(map(str, inner))}"
    if origin in (Sequence, list, tuple):
        return f"a list, each entry {_name(inner[0])}"
    return _NAMES.get(hint, str(hint))


def _small(owner: str) -> str:
    return owner[:1].lower() + owner[1:]
