"""Record from all repositories and write `goldens.json`."""

from __future__ import annotations

import argparse
import json
import platform
import sys
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import scipy
import torch

from . import (
    cagrad,
    fairgrad,
    famo,
    go4align,
    libmtl,
    moo,
    mtan,
    mtl,
    mtllib,
    nash_mtl,
    samgs,
)
from .repository import Numbers, Recording, Repository, code_of
from .stand_ins import StandIns

OUTPUT = Path(__file__).resolve().parent.parent / "goldens.json"
REPOSITORIES = (
    libmtl.REPOSITORY,
    famo.REPOSITORY,
    fairgrad.REPOSITORY,
    nash_mtl.REPOSITORY,
    mtllib.REPOSITORY,
    samgs.REPOSITORY,
    go4align.REPOSITORY,
    cagrad.REPOSITORY,
    mtl.REPOSITORY,
    mtan.REPOSITORY,
    moo.REPOSITORY,
)


def main() -> int:
    """Parse the command line, record and write."""
    parser = argparse.ArgumentParser(
        prog="python -m record", description="Record the numbers of the authors' own code."
    )
    parser.add_argument("--repositories", type=Path, required=True, help="folder of clones")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args()

    prepare()
    records = []
    for repository in REPOSITORIES:
        with code_of(repository, options.repositories) as load:
            for recording in repository.recordings():
                numbers = recording.compute(load, recording)
                records.append(json.dumps(label(repository, recording) | plain(numbers)))
        print(f"{repository.name}: {len(records)} records so far", file=sys.stderr)
    text = json.dumps(head(), indent=1)[:-2] + ',\n "records": [\n' + ",\n".join(records) + "\n]}\n"
    json.loads(text)
    options.output.write_text(text)
    return 0


def prepare() -> None:
    """Set the process up: float64, one thread, stand-ins, and what torch removed."""
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    torch.symeig = lambda matrix, eigenvectors: torch.linalg.eigh(matrix)  # type: ignore[attr-defined]
    warnings.simplefilter("ignore")
    sys.meta_path.insert(0, StandIns())
    sys.dont_write_bytecode = True


def head() -> dict[str, Any]:
    """The versions that are recorded with."""
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "torch": str(torch.__version__),
        "repositories": origins(),
    }


def origins() -> dict[str, dict[str, str]]:
    """Address and commit of each repository, by name."""
    return {known.name: {"url": known.url, "commit": known.commit} for known in REPOSITORIES}


def label(repository: Repository, recording: Recording) -> dict[str, Any]:
    """A record without its numbers."""
    return {
        "method": recording.method,
        "repository": repository.name,
        "file": recording.file,
        "name": recording.name,
        "settings": recording.settings,
        "case": asdict(recording.case),
        "checksum": float(f"{recording.case.checksum():.12g}"),
    }


def plain(numbers: Numbers) -> dict[str, dict[str, list[list[float]]]]:
    """The numbers of a record, as lists with 12 digits.

    Raises:
        ValueError: the authors' code returned a number that is not finite.
    """
    found = {}
    for key, values in numbers.items():
        rows = [np.asarray(torch.as_tensor(step).detach(), dtype=float).ravel() for step in values]
        if not all(np.isfinite(row).all() for row in rows):
            raise ValueError(f"Expected finite {key}, found {rows}. Record another case.")
        found[key] = [[float(f"{x:.12g}") for x in row] for row in rows]
    return {"numbers": found}
