"""The toy as a problem: tasks, the papers' recipe, the minima as baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from mtrl.supervised.problem import BaseProblem, Metric, Recipe, Task
from mtrl.supervised.problems.toy.plots import draw_methods, paths_of_runs
from mtrl.supervised.problems.toy.surface import STARTS, TASKS, Surface
from mtrl.supervised.task_metrics import mean_value


class Toy(BaseProblem):
    """A toy surface. Every start descends with its own copy of the method.

    There is no data, so an epoch is one step. The recipe is the papers': Adam with its usual betas
    and a learning rate of 0.001. FAMO's and RGB's papers take 50,000 steps. SAM-GS's paper takes
    20,000, and 30,000 on `two_optima`.

    The presets bound each direction by a norm of 1 (`balancing.max_grad_norm`), as the released
    programs do for methods that write the gradient themselves. Loss weightings are not bounded: the
    released programs clip them before the backward pass, which has no effect. The released programs
    do not bound Nash-MTL, MGDA and IMTL-G either; we bound every method on gradients.

    `supervised/toy_fast` is for a quick look, not for results. It takes 2,500 steps of 0.02 and
    shortens Adam's memory by the same factor (0.9^20, 0.999^20). The methods' own memories (SAM-GS,
    RGB, FAMO, MoCo, DWA, GradNorm and others) keep their length in steps. So paths differ from the
    papers' where they are chaotic, inside the valley, and end elsewhere along the front.

    Args:
        surface: `one_optimum` or `two_optima`.
        loss_weight: alpha; the first loss is alpha L1. It is 0.1 in the figures of Nash-MTL, FAMO,
            FairGrad and PIVRG, and 1 in those of CAGrad and SAM-GS.
        starts: the paper that gives the start points: `cagrad` (five) or `sam_gs` (seven; six on
            `two_optima`). Empty takes the first paper that the surface has.

    Raises:
        ValueError: an unknown surface or paper, or a weight that is not positive.
    """

    recipe = Recipe(epochs=50_000, batch_size=1, learning_rate=1e-3, select="last")
    baseline_source = "each loss's own minimum"
    tasks = tuple(
        Task(name, lambda prediction, target: prediction, (Metric("value", False, mean_value),))
        for name in TASKS
    )

    def __init__(
        self, *, surface: str = "one_optimum", loss_weight: float = 0.1, starts: str = ""
    ) -> None:
        plane = Surface(surface, loss_weight)  # refuses an unknown name
        known = STARTS[surface]
        starts = starts or next(iter(known))
        if starts not in known:
            raise ValueError(
                f"`starts` should be {' or '.join(known)} on {surface}. Found {starts!r}."
            )
        self.surface = replace(plane, starts=known[starts])
        self.baseline = {
            task: {"value": minimum}
            for task, minimum in zip(TASKS, self.surface.minima, strict=True)
        }

    def finish_all(self, runs: Mapping[str, Path], picture: Path) -> Path | None:
        """Draw the paths of all methods in one picture."""
        return draw_methods(self.surface, paths_of_runs(self.surface, runs), picture)
