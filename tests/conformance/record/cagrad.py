"""CAGrad, the authors' own, as its agent computes it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from .feeding import ONE_STEP, tensor
from .repository import Load, Numbers, Recording, Repository


def recordings() -> Iterator[Recording]:
    """The two functions of the agent; the exact one at two sizes of the gradients."""
    forms = (("cagrad", 1.0), ("cagrad_exact", 1.0), ("cagrad_exact", 100.0))
    for case, (name, scale) in itertools.product(ONE_STEP, forms):
        settings = {"c": 0.5, "cagrad_method": name, "gradients_times": scale}
        file = "mtrl/mtrl_files/cagrad.py"
        yield Recording("cagrad", file, "Agent", settings, case, of_the_agent)


def of_the_agent(load: Load, recording: Recording) -> Numbers:
    """The direction for the first step."""
    settings, case = recording.settings, recording.case
    agent = object.__new__(load("cagrad").Agent)
    agent.cagrad_c = settings["c"]
    combine = getattr(agent, settings["cagrad_method"])
    rows = settings["gradients_times"] * tensor(case.jacobians()[0])
    return {"directions": [combine(rows, case.tasks)]}


REPOSITORY = Repository(
    name="CAGrad",
    url="https://github.com/Cranial-XIX/CAGrad",
    commit="dc3d48152b6196945cfd56144879b9d42353b095",
    paths=("mtrl/mtrl_files/cagrad.py",),
    recordings=recordings,
    roots=("mtrl/mtrl_files",),
)
