"""What code runs: the commit, if the package is in a git checkout, and versions of packages."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict


class Commit(TypedDict):
    """A commit, and whether the files of the package or its presets differ from it (`dirty`)."""

    commit: str
    dirty: bool


def package_commit(package: Path = Path(__file__).parents[1]) -> Commit | None:
    """The checked-out commit of a folder of code.

    Args:
        package: the folder.

    Returns:
        None if git does not track the files of the folder. For example, an installed copy may lie in a
        virtual environment inside another project's repository; the commit of that repository would be
        wrong.
    """
    # In a hook git sets GIT_DIR, which would override the folder.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(package), *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env=environment
        )
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")
        presets = str((package / "configs").resolve())  # a link to a folder beside the package
        dirty = bool(git("status", "--porcelain", "--", ".", presets))
        return {"commit": git("rev-parse", "HEAD"), "dirty": dirty}
    except (OSError, subprocess.CalledProcessError):
        return None


def package_versions(packages: Sequence[str]) -> dict[str, str]:
    """Versions of those packages that are installed; extras of mtrl bring some of them."""
    versions = {}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions
