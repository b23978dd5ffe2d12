"""Aligned-MTL, the authors' own, from the repository MTL."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from .feeding import ONE_STEP, tensor
from .repository import Load, Numbers, Recording, Repository


def recordings() -> Iterator[Recording]:
    """Each scale of the solver, one step."""
    for case, mode in itertools.product(ONE_STEP, ("min", "median", "rmse")):
        settings, file = {"scale_mode": mode}, "code/optim/aligned/solver.py"
        yield Recording("aligned_mtl", file, "ProcrustesSolver", settings, case, of_the_solver)


def of_the_solver(load: Load, recording: Recording) -> Numbers:
    """The weight of each gradient."""
    solver = load("optim.aligned.solver").ProcrustesSolver
    rows = tensor(recording.case.jacobians()[0])
    _, weights, _ = solver.apply(rows.T.unsqueeze(0), recording.settings["scale_mode"])
    return {"weights": [weights.sum(-1)]}


REPOSITORY = Repository(
    name="MTL",
    url="https://github.com/SamsungLabs/MTL",
    commit="3f577f1365101fdd16094313b4a3b0d3845ce10d",
    paths=("code/optim/aligned",),
    recordings=recordings,
    hollow=("optim", "optim.aligned"),
    roots=("code",),
)
