"""A published repository, what is recorded from it, and how its code is imported."""

from __future__ import annotations

import contextlib
import importlib
import io
import subprocess
import sys
import tarfile
import tempfile
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from golden_inputs import Case

Numbers = dict[str, list[Any]]
"""One list per kind of number, with one entry per step."""
Load = Callable[[str], types.ModuleType]
"""Imports a module of the authors' by its dotted name."""


@dataclass(frozen=True)
class Recording:
    """One call of the authors' code. It is listed without their code and computed with it.

    Attributes:
        method: our name.
        file: theirs, from the root of the repository.
        name: of their class or function.
        settings: given to it.
        case: the inputs.
        compute: returns the numbers, from an importer of the repository's modules and the recording.
    """

    method: str
    file: str
    name: str
    settings: dict[str, Any]
    case: Case
    compute: Callable[[Load, Recording], Numbers]


@dataclass(frozen=True)
class Repository:
    """Where an implementation is published, and what is recorded from it.

    Attributes:
        name: of the repository and of its clone.
        url: of the repository.
        commit: the version that is recorded.
        paths: what to read from it.
        recordings: lists them, in the order of `goldens.json`.
        hollow: packages whose `__init__` is left out, because it imports trainers and datasets.
        roots: folders to import from.
    """

    name: str
    url: str
    commit: str
    paths: tuple[str, ...]
    recordings: Callable[[], Iterator[Recording]]
    hollow: tuple[str, ...] = ()
    roots: tuple[str, ...] = (".",)


@contextlib.contextmanager
def code_of(repository: Repository, folder: Path) -> Iterator[Load]:
    """Import from the recorded commit: `with code_of(...) as load: load("a.b")`.

    On leaving, the modules and `sys.path` are as before, so that the next repository may use the same
    names.

    Raises:
        SystemExit: the folder has no clone of the repository.
    """
    name = repository.name
    places = [folder / name, folder / f"{name}.git"]
    place = next((path for path in places if path.exists()), None)
    if place is None:
        raise SystemExit(f"No {name} in {folder}. Clone {repository.url} there.")
    archive = ["git", "-C", str(place), "archive", repository.commit, *repository.paths]
    packed = subprocess.run(archive, check=True, capture_output=True).stdout
    before, path = set(sys.modules), list(sys.path)
    with tempfile.TemporaryDirectory() as scratch:
        with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
            tar.extractall(scratch, filter="data")
        roots = [str(Path(scratch) / root) for root in repository.roots]
        sys.path[:0] = roots
        for package in repository.hollow:
            hollow = types.ModuleType(package)
            hollow.__path__ = [str(Path(root) / package.replace(".", "/")) for root in roots]
            sys.modules[package] = hollow
        try:
            yield importlib.import_module
        finally:
            sys.path[:] = path
            for module in set(sys.modules) - before:
                file = getattr(sys.modules[module], "__file__", None) or ""
                if file.startswith(scratch) or module in repository.hollow:
                    del sys.modules[module]
