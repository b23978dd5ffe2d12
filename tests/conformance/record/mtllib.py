"""MTLlib, by the authors of PIVRG: their method, GradDrop, and GO4Align with its k-means."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from golden_inputs import Case

from .feeding import LINEAGE, LOSS_STEPS, ONE_STEP, fed, loss_weights, overwritten, tensor
from .repository import Numbers, Recording, Repository
from .stand_ins import replaced


def recordings() -> Iterator[Recording]:
    """PIVRG and GradDrop for one step, GO4Align for twelve."""
    for case, (bound, mintemp) in itertools.product(ONE_STEP, ((2.0, 10.0), (1.8, 100.0))):
        settings: dict[str, Any] = {"bound": bound, "mintemp": mintemp}
        yield Recording("pivrg", LINEAGE, "PIVRG", settings, case, fed(by_drops))
    for case in ONE_STEP:
        yield Recording("graddrop", LINEAGE, "GradDrop", {}, case, fed(by_uniforms))
    for case, groups in itertools.product(LOSS_STEPS, (1, 2, 3, 5)):
        if groups <= case.tasks:
            file = "methods/cluster_methods.py"
            settings = {"num_groups": groups, "robust_step_size": 0.01}
            yield Recording("go4align", file, "GO4ALIGN", settings, case, fed(loss_weights))


def by_drops(method: Any, case: Case) -> Numbers:
    """With the performance drop of each task."""
    return overwritten(method, case, scores=case.drops())


def by_uniforms(method: Any, case: Case) -> Numbers:
    """With our draws for its masks."""
    draws = iter(case.uniforms())
    with replaced(torch, "rand_like", lambda *_: tensor(next(draws))):
        return overwritten(method, case)


REPOSITORY = Repository(
    name="MTLlib",
    url="https://github.com/jianke0604/MTLlib",
    commit="e64779272aade3b89e8ad5437ec1e33d1b3bdf5e",
    paths=("methods",),
    recordings=recordings,
)
