"""Check the names of run directories, and find a run by the name or path that a user types."""

from __future__ import annotations

from pathlib import Path

from mtrl.errors import suggest
from mtrl.runs.directory import RunDirectory, RunDirectoryError, list_runs


def check_run_name(name: str) -> None:
    """Raise `ValueError` for a name that would lead out of the folder of runs."""
    if "/" in name or not name.isprintable() or name.startswith(("-", ".")):
        raise ValueError(
            "`run.name` begins a folder's name: it should hold no `/` and not start with `.` or `-`."
            f" Found {name!r}. Set `run.directory` to choose the folder of runs."
        )


def find_run(text: str, base: Path = Path("runs")) -> RunDirectory:
    """Find a run by its path, or by its name in the folder of runs.

    Raises:
        RunDirectoryError: there is no such run; the message suggests a similar name.
    """
    path = Path(text)
    if not path.exists() and len(path.parts) == 1:
        path = base / text
    if path.exists():
        return RunDirectory.open(path)
    known = [run.path.name for run in list_runs(path.parent)]
    raise RunDirectoryError(
        f"{path} does not exist, so it is not a run directory. `mtrl runs` lists runs."
        f"{suggest(path.name, known)}"
    )
