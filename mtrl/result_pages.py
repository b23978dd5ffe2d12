"""What `mtrl results` does: keep the small facts of finished runs, and make a results page from them.

Everything on a page comes from the files in a folder, so anyone can make the page again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from mtrl.bench.page.speed_page import speed_page
from mtrl.report.results import page, summarise
from mtrl.report.supervised_page import add_runs, is_supervised, supervised_page
from mtrl.runs.directory import RunDirectory
from mtrl.supervised.problems.toy.toy_page import add_toys, is_toy, is_toy_content, toy_page


def run(action: str, folder: Path, runs: Sequence[Path]) -> None:
    """Do what `mtrl results ACTION` asks for, and print the page that it writes."""
    if action == "add":
        add(folder, runs)
    else:
        print(write_page(folder) if action == "page" else speed_page(folder))


def add(folder: Path, paths: Sequence[Path]) -> None:
    """Copy what a page needs out of run directories.

    Runs of `mtrl supervised` go into one file per variant, other runs into one file each.

    Args:
        folder: of the results, made if it does not exist.
        paths: of finished runs of one kind.

    Raises:
        RunDirectoryError: a run is not finished.
    """
    runs = [RunDirectory.open(path) for path in paths]
    if all(is_toy(run) for run in runs):
        add_toys(folder, runs)
    elif all(is_supervised(run) for run in runs):
        add_runs(folder, runs)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        for run in runs:
            facts = summarise(run)
            (folder / f"{facts['name']}.json").write_text(json.dumps(facts, indent=1))


def write_page(folder: Path) -> str:
    """Write `<folder>.md` and its pictures from the files in a folder; returns the text.

    Raises:
        RunDirectoryError: the folder has no results.
    """
    contents = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    if any(is_toy_content(content) for content in contents):
        return toy_page(folder)
    supervised = any("tasks" in content for content in contents)
    return supervised_page(folder) if supervised else page(folder)
