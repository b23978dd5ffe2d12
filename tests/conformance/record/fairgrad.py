"""FairGrad, the authors' own: the form for supervised and the one for reinforcement learning."""

from __future__ import annotations

from collections.abc import Iterator

from .feeding import LINEAGE, ONE_STEP, fed, overwritten, tensor
from .repository import Load, Numbers, Recording, Repository


def recordings() -> Iterator[Recording]:
    """Both forms, one step each."""
    for case in ONE_STEP:
        for alpha in (1.0, 2.0):
            settings = {"alpha": alpha}
            yield Recording("fairgrad", LINEAGE, "FairGrad", settings, case, fed(overwritten))
        file = "mtrl_files/fairgrad.py"
        yield Recording("fairgrad", file, "Agent", {"alpha": 2.0}, case, of_the_agent)


def of_the_agent(load: Load, recording: Recording) -> Numbers:
    """The function of the agent that combines the gradients."""
    agent = object.__new__(load("fairgrad").Agent)
    agent.fairgrad_alpha = recording.settings["alpha"]
    direction = agent.fairgrad(tensor(recording.case.jacobians()[0]), recording.case.tasks)
    return {"directions": [direction]}


REPOSITORY = Repository(
    name="fairgrad",
    url="https://github.com/OptMN-Lab/fairgrad",
    commit="2b8cba1e3d070583ee1d00f8fc0ccc9bc4695c50",
    paths=("methods", "mtrl_files/fairgrad.py"),
    recordings=recordings,
    roots=(".", "mtrl_files"),
)
