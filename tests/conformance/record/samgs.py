"""SAM-GS, the authors' own, for supervised and reinforcement learning; and its Aligned-MTL."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from golden_inputs import Case

from .feeding import LINEAGE, ONE_STEP, fed, tensor, trunk
from .repository import Load, Numbers, Recording, Repository


def recordings() -> Iterator[Recording]:
    """SAM-GS where it equalises, where it does not and where it changes; Aligned-MTL for one step."""
    kinds = (("alternating", 0.9), ("aligned", 0.1), ("random", 0.7), ("random", 0.99))
    for m, (kind, gamma) in itertools.product((3, 10), kinds):
        case = Case(kind, m, 6)
        settings = {"gamma": gamma, "beta2": 0.9, "momentum": 0.9}
        yield Recording("sam_gs", LINEAGE, "SAMGS", settings, case, fed(left_in_grad))
        settings = {"gamma": gamma, "beta2": 0.99, "momentum": 0.9}
        file = "experiments/mtrl_methods/samgs.py"
        yield Recording("sam_gs", file, "Agent", settings, case, of_the_agent)
    for case in ONE_STEP:
        yield Recording("aligned_mtl", LINEAGE, "AlignedMTL", {}, case, fed(left_in_grad))


def left_in_grad(method: Any, case: Case) -> Numbers:
    """What `backward`, which returns nothing here, leaves in `.grad` of the trunk, unclipped."""
    method.max_norm, directions = 0.0, []
    for rows in case.jacobians():
        theta, losses = trunk(rows)
        method.backward(losses, shared_parameters=[theta])
        directions.append(theta.grad)
    return {"directions": directions}


def of_the_agent(load: Load, recording: Recording) -> Numbers:
    """The function of the agent that combines the gradients, with its moments as it starts them."""
    settings = recording.settings
    agent = object.__new__(load("samgs").Agent)
    agent.b1, agent.b2, agent.gamma = settings["momentum"], settings["beta2"], settings["gamma"]
    agent.t, agent.m, agent.v = 0, torch.zeros(1, 1), torch.zeros(1)
    return {"directions": [agent.samgs(tensor(rows)) for rows in recording.case.jacobians()]}


REPOSITORY = Repository(
    name="samgs",
    url="https://github.com/ThomBors/samgs",
    commit="7eee6a25aa9ac9a5b3f1bae9091bd7a1b2535156",
    paths=("methods", "experiments/mtrl_methods/samgs.py"),
    recordings=recordings,
    hollow=("methods",),
    roots=(".", "methods", "experiments/mtrl_methods"),
)
