"""Measure all that the page on speed shows, one bench after another, and write the page again.

Each bench runs in a fresh process. All take about half an hour on two idle cores, during which nothing
else may run. What has a target runs three times, minutes apart: the page shows medians and ranges.
Commit first: each raw file holds the commit, and whether the code differed from it.

    mtrl bench all                  into results/speed
    mtrl bench all --peer PEER      also beside metaworld-algorithms, seven minutes more
"""

from __future__ import annotations

import dataclasses
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from mtrl.bench.bench_options import option
from mtrl.bench.page.speed_page import speed_page
from mtrl.errors import MtrlError

REPEATS = 3
REPEATED = {
    "env": "env --floor",
    "reset": "reset",
    "rollout": "rollout --chunks 10 --envs-per-task 1,4,8",
    "ray": "ray --turns 3",
    "scaling": "scaling",
    "learner": "learner",
    "learner_1024": "learner --rounds 5 --width 1024",
    "update": "update --count-ops --published",
    "solver": "solver --reference 6",
}
"""Name of the raw file -> arguments of `mtrl bench`; these run three times."""

ONCE = {
    "learner_float64": "learner --rounds 3 --dtype float64",
    "learner_b32": "learner --batch 32",
    "learner_norm": "learner --layer-norm",
    "learner_fresh": "learner --fresh-memory",
    "learner_1024_norm": "learner --rounds 4 --width 1024 --layer-norm",
    "learner_1024_fresh": "learner --rounds 4 --width 1024 --fresh-memory",
    "learner_m25": "learner --rounds 6 --tasks 25",
    "learner_m50": "learner --rounds 3 --tasks 50",
    "update_b32": "update --batch 32",
    "update_quick": "update --width 256 --batch 32 --layer-norm",
    "update_norm": "update --rounds 8 --layer-norm",
    "update_1024": "update --rounds 4 --width 1024",
    "update_m25": "update --rounds 5 --tasks 25",
    "update_m50": "update --rounds 4 --tasks 50",
    "ingest": "ingest",
    "train": "train --seconds 60",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Options of `mtrl bench all`."""

    folder: Path = option(
        Path("results/speed"), "of raw files (results/speed)", positional=True, nargs="?"
    )
    peer: Path | None = option(None, "checkout of the peer, as for `mtrl bench peers`")


def run(options: Options) -> None:
    """Replace the raw files in a folder, and write its page.

    Raises:
        MtrlError: a bench failed; files that were measured before it are replaced already.
    """
    folder = options.folder
    folder.mkdir(parents=True, exist_ok=True)
    print(f"Load now: {os.getloadavg()[0]:.2f}. Other jobs spoil the figures.", file=sys.stderr)
    forgotten: set[str] = set()
    for file, arguments in plan(options.peer):
        name = file.partition(".")[0]
        if name not in forgotten:  # earlier runs, which must not be joined with the new ones
            for old in (folder / f"{name}.json", *folder.glob(f"{name}.[0-9].json")):
                old.unlink(missing_ok=True)
            forgotten.add(name)
        print(f"{time.strftime('%T')} {folder / file}", file=sys.stderr)
        _measure(folder / file, arguments)
    speed_page(folder)
    print(f"{time.strftime('%T')} {folder.with_suffix('.md')}", file=sys.stderr)


def plan(peer: Path | None) -> Iterator[tuple[str, list[str]]]:
    """Names of raw files and arguments of `mtrl bench`, in the order of measuring."""
    for number in range(1, REPEATS + 1):
        for name, arguments in REPEATED.items():
            yield f"{name}.{number}.json", shlex.split(arguments)
        if peer is not None:
            yield f"peers.{number}.json", ["peers", "--peer", str(peer)]
    for name, arguments in ONCE.items():
        yield f"{name}.json", shlex.split(arguments)


def _measure(path: Path, arguments: list[str]) -> None:
    """Write what a bench prints in a fresh process; the file appears once it is whole."""
    command = [sys.executable, "-m", "mtrl", "bench", *arguments, "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    part = path.with_suffix(".part")
    with part.open("w") as file:
        status = subprocess.run(command, stdout=file, env=environment).returncode
    if status:
        part.unlink()
        raise MtrlError(
            f"`mtrl bench {shlex.join(arguments)}` should end with status 0. It ended with {status};"
            " its error is above."
        )
    part.replace(path)
