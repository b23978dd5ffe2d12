"""Which code ran: the commit of the checkout that holds the package, or none."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TypedDict


class Commit(TypedDict):
    """A commit, and whether the package's files differ from it."""

    commit: str
    dirty: bool


def package_commit(package: Path = Path(__file__).parents[1]) -> Commit | None:
    """The commit that a folder of code is at.

    Args:
        package: the folder.

    Returns:
        None where git does not track the folder's files: an installed copy lies, for example, in a
        virtual environment within another project's repository, whose commit says nothing about it.
    """
    # Within a hook git sets GIT_DIR, which would name that repository whatever the folder is.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(package), *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env=environment
        )
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")
        dirty = bool(git("status", "--porcelain", "--", "."))
        return {"commit": git("rev-parse", "HEAD"), "dirty": dirty}
    except (OSError, subprocess.CalledProcessError):
        return None
