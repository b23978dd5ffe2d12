"""GO4Align, the authors' own."""

from __future__ import annotations

from collections.abc import Iterator

from .feeding import LOSS_STEPS, fed, loss_weights
from .repository import Recording, Repository


def recordings() -> Iterator[Recording]:
    """One group only: with more the file calls a k-means whose import it comments out."""
    for case in LOSS_STEPS:
        settings = {"num_groups": 1, "robust_step_size": 0.01}
        file = "methods/cluster_methods.py"
        yield Recording("go4align", file, "GO4ALIGN", settings, case, fed(loss_weights))


REPOSITORY = Repository(
    name="GO4Align",
    url="https://github.com/autumn9999/GO4Align",
    commit="5fcbc716b8fa44750fdbe9588b55389c0f34ca66",
    paths=("methods",),
    recordings=recordings,
    hollow=("methods",),
)
