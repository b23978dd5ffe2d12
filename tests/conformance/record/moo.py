"""MGDA, the authors' own, from the repository MultiObjectiveOptimization."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .feeding import ONE_STEP, at_most
from .repository import Load, Numbers, Recording, Repository


def recordings() -> Iterator[Recording]:
    """The numpy form: the other one sums torch tensors by numpy, which no longer works."""
    for case in ONE_STEP:
        file = "multi_task/min_norm_solvers_numpy.py"
        yield Recording("mgda", file, "MinNormSolverNumpy", {}, case, of_the_solver)


def of_the_solver(load: Load, recording: Recording) -> Numbers:
    """The weight of each gradient."""
    code: Any = load("min_norm_solvers_numpy")
    # The class calls itself by the name of the torch form.
    solver = code.MinNormSolver = code.MinNormSolverNumpy
    with at_most(60):
        weights = solver.find_min_norm_element(list(recording.case.jacobians()[0]))[0]
    return {"weights": [np.array(weights)]}


REPOSITORY = Repository(
    name="MultiObjectiveOptimization",
    url="https://github.com/isl-org/MultiObjectiveOptimization",
    commit="bf5bbb30371489a47f6440691d8934b70f7dfc3b",
    paths=("multi_task/min_norm_solvers_numpy.py",),
    recordings=recordings,
    roots=("multi_task",),
)
