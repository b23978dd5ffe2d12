"""Load classes from the entry points of other packages, and from files."""

from __future__ import annotations

import importlib.util
import sys
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from mtrl.errors import PluginError, describe


def plugin_names(group: str) -> list[str]:
    """The names in an entry-point group, sorted."""
    return sorted(entry_points(group=group).names)


def load_plugin(group: str, name: str) -> Any:
    """Load the object of the entry point `name` in a group; None if there is no such entry point.

    Raises:
        PluginError: the object cannot be imported.
    """
    for point in entry_points(group=group, name=name):
        try:
            return point.load()
        except Exception as error:
            owner = f" of the package {point.dist.name!r}" if point.dist else ""
            raise PluginError(
                f"The plug-in {name!r}{owner} ({group}: {point.value}) cannot be loaded:"
                f" {describe(error)}. Repair that package, or uninstall it."
            ) from error
    return None


def load_file(path: Path) -> ModuleType:
    """Import a Python file as a module.

    Raises:
        PluginError: the file raises an error.
    """
    spec = importlib.util.spec_from_file_location(f"mtrl_file_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[spec.name]
        raise PluginError(f"{path} cannot be loaded: {describe(error)}.") from error
    return module
