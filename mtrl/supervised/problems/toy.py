"""Two tasks in the plane: the surfaces on which balancing methods are drawn in their papers.

Source: Liu et al., CAGrad, NeurIPS 2021, appendix (`one_optimum`), and the SAM-GS paper
(`two_optima`). Above the axis lies a valley of logarithms where the gradients conflict and differ
in size; below it two bowls, whose minima pull apart. Differs from the papers as printed: the second
logarithm has `+ tanh(-y)`, as in every released code, where two papers print a minus.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from mtrl.supervised.metrics import mean_value
from mtrl.supervised.problem import Metric, Model, Problem, Recipe, Split, Task, TensorData

Point = tuple[float, float]

STEPS_PER_EPOCH = 10
_MINIMUM = {"one_optimum": -19.98943, "two_optima": -50.2938}  # of either loss, by itself
_CAGRAD = ((-8.5, 7.5), (0.0, 0.0), (9.0, 9.0), (-7.5, -0.5), (9.0, -1.0))
_SAM_GS = (
    (-8.0, 5.0),
    (-3.0, 7.5),
    (0.0, 10.0),
    (3.0, 7.5),
    (8.0, 5.0),
    (-10.0, -3.0),
    (10.0, -3.0),
)
_SAM_GS_TWO = ((-3.5, 5.5), (3.5, 5.5), (-6.5, 2.5), (6.5, 2.5), (0.0, 10.0), (0.0, -8.0))
STARTS: dict[str, dict[str, tuple[Point, ...]]] = {
    "one_optimum": {"cagrad": _CAGRAD, "sam_gs": _SAM_GS},
    "two_optima": {"sam_gs": _SAM_GS_TWO},
}
"""The points from which the papers descend, by surface and paper."""


class Toy(Problem):
    """One of the two surfaces; every start is trained on its own.

    An epoch is ten steps. The recipe takes 2,500 steps of 0.02 where the papers take 20,000 to 50,000 of
    0.001, and shortens Adam's memory by the same factor (0.9^20, 0.999^20), so that paths cover the
    same ground; inside the valley they are chaotic in either.

    Args:
        surface: `one_optimum` or `two_optima` of the sum of the losses.
        loss_weight: alpha, the first loss is alpha L1: 0.1 in the figures of Nash-MTL, FAMO, FairGrad
            and PIVRG, 1 in those of CAGrad and SAM-GS.
        starts: whose start points: `cagrad` (five) or `sam_gs` (seven; six on `two_optima`), or empty
            for the first that the surface has.
    """

    recipe = Recipe(epochs=250, batch_size=1, learning_rate=0.02, betas=(0.12, 0.98), select="last")
    baseline_source = "each loss's own minimum"
    tasks = tuple(
        Task(name, lambda prediction, target: prediction, (Metric("value", False, mean_value),))
        for name in ("left", "right")
    )

    def __init__(
        self, *, surface: str = "one_optimum", loss_weight: float = 0.1, starts: str = ""
    ) -> None:
        if surface not in STARTS:
            raise ValueError(f"`surface` should be {' or '.join(STARTS)}. Found {surface!r}.")
        if loss_weight <= 0:
            raise ValueError(f"`loss_weight` should be positive. Found {loss_weight}.")
        known = STARTS[surface]
        starts = starts or next(iter(known))
        if starts not in known:
            raise ValueError(
                f"`starts` should be {' or '.join(known)} on {surface}. Found {starts!r}."
            )
        self.surface, self.loss_weight = surface, loss_weight
        self.starts = known[starts]
        self.copies = len(self.starts)
        alone = _MINIMUM[surface]
        self.baseline = {"left": {"value": loss_weight * alone}, "right": {"value": alone}}
        # What released code subtracts for methods that need positive losses; the second is ours.
        self.lower_bound = max(1.0, loss_weight) * (-21.0 if surface == "one_optimum" else -52.0)

    def losses(self, point: Tensor) -> Tensor:
        """Both losses at `point [..., 2]`, `[..., 2]`."""
        x, y = point[..., 0], point[..., 1]
        upper = torch.tanh(0.5 * y).clamp_min(0.0)
        lower = torch.tanh(-0.5 * y).clamp_min(0.0)
        first = (0.5 * (-x - 7.0) - torch.tanh(-y)).abs().clamp_min(5e-6).log() + 6.0
        second = (0.5 * (-x + 3.0) + torch.tanh(-y) + 2.0).abs().clamp_min(5e-6).log() + 6.0
        if self.surface == "one_optimum":
            bowls = [((x - 7.0 * s) ** 2 + 0.1 * (y + 8.0) ** 2) / 10.0 - 20.0 for s in (1, -1)]
        else:
            bowls = [_two_wells(x, y, s) for s in (1, -1)]
        left = self.loss_weight * (first * upper + bowls[0] * lower)
        right = second * upper + bowls[1] * lower
        return torch.stack([left, right], dim=-1)

    def data(self, split: Split, seed: int) -> TensorData:
        """Nothing but the number of steps in an epoch."""
        count = STEPS_PER_EPOCH if split == "train" else 1
        nothing = torch.zeros(count)
        return TensorData(nothing, [nothing, nothing])

    def model(self, copy: int = 0) -> Model:
        """A point in the plane, at one of the starts."""
        return _Point(self, self.starts[copy])

    def facts(self, model: Model) -> dict[str, float]:
        """Where the point is."""
        assert isinstance(model, _Point)
        x, y = model.point.tolist()
        return {"x": x, "y": y}

    def finish(self, run: Path, models: Sequence[Model]) -> list[Path]:
        """`end_points.json`, and pictures of the paths."""
        from mtrl.supervised.problems.toy_plots import draw_run

        ends = []
        for start, model in zip(self.starts, models, strict=True):
            assert isinstance(model, _Point)
            point = model.point.detach()
            ends.append(
                {"start": start, "theta": point.tolist(), "losses": self.losses(point).tolist()}
            )
        path = run / "end_points.json"
        path.write_text(json.dumps(ends, indent=1))
        return [path, *draw_run(self, run)]

    def finish_all(self, runs: Mapping[str, Path], picture: Path) -> Path | None:
        """The paths of all methods in one picture, their ends in a table and as numbers beside it."""
        import numpy as np

        from mtrl.supervised.problems.toy_landscape import table_of_ends
        from mtrl.supervised.problems.toy_plots import draw_methods

        ends = {
            name: json.loads((run / "end_points.json").read_text()) for name, run in runs.items()
        }
        picture.with_suffix(".json").write_text(json.dumps(ends))
        thetas = {name: np.array([end["theta"] for end in rows]) for name, rows in ends.items()}
        picture.with_suffix(".md").write_text(table_of_ends(self, thetas))
        return draw_methods(self, runs, picture)


class _Point(Model):
    num_tasks = 2

    def __init__(self, problem: Toy, start: Point) -> None:
        super().__init__()
        self.problem = problem
        self.point = nn.Parameter(torch.tensor(start, dtype=torch.float64))

    def forward(self, inputs: Tensor) -> list[Tensor]:
        return list(self.problem.losses(self.point).unbind(-1))

    def head_parameters(self, task: int) -> dict[str, nn.Parameter]:
        return {}


def pareto_front(points: int = 201) -> Tensor:
    """The Pareto set of `one_optimum`, `[points, 2]`, for any loss weight.

    Both bowls fall with |x| up to 7, and y is the minimum of a common profile within 0.08 of
    -8.3552 at x = 0 and -8.4345 at the ends; the set is taken as the parabola through these.
    """
    x = torch.linspace(-7.0, 7.0, points, dtype=torch.float64)
    return torch.stack([x, _ridge(x)], dim=-1)


def distance_to_front(point: Tensor) -> Tensor:
    """Distance of `point [..., 2]` from :func:`pareto_front`."""
    x, y = point[..., 0], point[..., 1]
    return torch.hypot((x.abs() - 7.0).clamp_min(0.0), y - _ridge(x.clamp(-7.0, 7.0)))


def _ridge(x: Tensor) -> Tensor:
    return -8.3552 - 0.0793 * (x / 7.0) ** 2


def _two_wells(x: Tensor, y: Tensor, sign: int) -> Tensor:
    """A sixth power around one centre, minus a quartic and a parabola around another."""
    total = torch.full_like(x, 1.5)
    for value, wide, narrow in ((x, 5.45 * sign, 5.5 * sign), (y, 0.0, 0.0)):
        outer, inner = (value - wide) / 4.0, (value - narrow) / 4.0
        total = total + 0.1 * outer**6 - inner**4 - 1.5 * inner**2
    return total
