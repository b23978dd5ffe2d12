"""Nash-MTL, the authors' own, and the other methods of its repository."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from golden_inputs import Case

from .feeding import (
    LINEAGE,
    LOSS_STEPS,
    ONE_STEP,
    fed,
    loss_weights,
    made,
    overwritten,
    overwritten_in_order,
    weighed,
)
from .repository import Load, Numbers, Recording, Repository


def recordings() -> Iterator[Recording]:
    """Methods on gradients for one step, Nash-MTL for five, and methods on losses for twelve."""
    for case in ONE_STEP:
        settings = {"update_weights_every": 1, "optim_niter": 100}
        yield Recording("nash_mtl", LINEAGE, "NashMTL", settings, case, fed(weighed))
        yield Recording("imtl_g", LINEAGE, "IMTLG", {}, case, fed(weighed))
        for normalise in ("none", "loss"):
            settings = {"normalization": normalise}
            yield Recording("mgda", LINEAGE, "MGDA", settings, case, fed(weighed))
        yield Recording("cagrad", LINEAGE, "CAGrad", {"c": 0.4}, case, fed(overwritten))
        yield Recording("pcgrad", LINEAGE, "PCGrad", {}, case, fed(overwritten_in_order))
    for case in (Case("aligned", 3, 5), Case("aligned", 10, 5)):
        settings = {"update_weights_every": 2, "optim_niter": 100}
        yield Recording("nash_mtl", LINEAGE, "NashMTL", settings, case, fed(weighed))
    for case in LOSS_STEPS:
        name = "LinearScalarization"
        yield Recording("ls", LINEAGE, name, {}, case, fed(loss_weights))
        settings = {"task_weights": [1.0 + task for task in range(case.tasks)]}
        yield Recording("fixed", LINEAGE, name, settings, case, fed(loss_weights))
        name = "ScaleInvariantLinearScalarization"
        yield Recording("si", LINEAGE, name, {}, case, fed(loss_weights))
        yield Recording("uw", LINEAGE, "Uncertainty", {"lr": 0.025}, case, of_uncertainty)
        settings = {"iteration_window": 3}
        yield Recording("dwa", LINEAGE, "DynamicWeightAverage", settings, case, fed(loss_weights))


def of_uncertainty(load: Load, recording: Recording) -> Numbers:
    """Its log variances learn by Adam, as parameters of the model do."""
    method = made(load, recording)
    adam = torch.optim.Adam(method.parameters(), lr=recording.settings["lr"])
    return loss_weights(method, recording.case, adam)


REPOSITORY = Repository(
    name="nash-mtl",
    url="https://github.com/AvivNavon/nash-mtl",
    commit="cce18403ef5557a6b30f4ba43b896117107d6902",
    paths=("methods",),
    recordings=recordings,
)
