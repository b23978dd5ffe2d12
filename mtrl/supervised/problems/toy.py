"""Two tasks in the plane: the surfaces on which balancing methods are drawn in their papers.

Source: Liu et al., CAGrad, NeurIPS 2021, appendix (`one_optimum`), and the SAM-GS paper
(`two_optima`). Above the axis lies a valley of logarithms where the gradients conflict and differ
in size; below it two bowls, whose minima pull apart. Differs from the papers as printed: the second
logarithm has `+ tanh(-y)`, as in every released code, where two papers print a minus.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from mtrl.supervised.problem import Benchmark, Metric, Recipe, Task
from mtrl.supervised.task_metrics import mean_value

Point = tuple[float, float]

_MINIMUM = {"one_optimum": -19.98943, "two_optima": -50.2938}  # of either loss, by itself
_CAGRAD = ((-8.5, 7.5), (0.0, 0.0), (9.0, 9.0), (-7.5, -0.5), (9.0, -1.0))
_SAM_GS = (
    (-8.0, 5.0),
    (-3.0, 7.5),
    (0.0, 10.0),
    (3.0, 7.5),
    (8.0, 5.0),
    (-10.0, -2.5),
    (10.0, -2.5),
)
_SAM_GS_TWO = ((-3.5, 5.5), (3.5, 5.5), (-6.5, 2.5), (6.5, 2.5), (0.0, 10.0), (0.0, -8.0))
_SIDES = torch.tensor([1.0, -1.0], dtype=torch.float64)  # of the left and of the right task
_LINES = -3.5 * _SIDES
_LEAST = 5e-6  # of what a logarithm is taken of
STARTS: dict[str, dict[str, tuple[Point, ...]]] = {
    "one_optimum": {"cagrad": _CAGRAD, "sam_gs": _SAM_GS},
    "two_optima": {"sam_gs": _SAM_GS_TWO},
}
"""The points from which the papers descend, by surface and paper."""


class Toy(Benchmark):
    """One of the two surfaces; every start descends on its own.

    There is no data, so every step is an epoch. The recipe is the papers': Adam with its usual betas
    and steps of 0.001, 50,000 of them as in FAMO's and RGB's papers (SAM-GS's takes 20,000, and 30,000
    on `two_optima`). The presets bound directions by a norm of 1 (`balancing.max_grad_norm`), as the
    released programs do where a method writes the gradient itself. Loss weightings are not bounded:
    there the released bound comes before the backward pass and does nothing. Released programs also
    leave Nash-MTL, MGDA and IMTL-G unbounded, which here are bounded as all methods on gradients.

    `supervised/toy_fast` takes 2,500 steps of 0.02 and shortens Adam's memory by the same factor
    (0.9^20, 0.999^20). It is for looking: memories of the methods themselves (SAM-GS, RGB, FAMO, MoCo,
    DWA, GradNorm and others) keep their length in steps, and where a path is chaotic, inside the valley,
    and where a method stops along the front, it ends elsewhere.

    Args:
        surface: `one_optimum` or `two_optima` of the sum of the losses.
        loss_weight: alpha, the first loss is alpha L1: 0.1 in the figures of Nash-MTL, FAMO, FairGrad
            and PIVRG, 1 in those of CAGrad and SAM-GS.
        starts: whose start points: `cagrad` (five) or `sam_gs` (seven; six on `two_optima`), or empty
            for the first that the surface has.
    """

    recipe = Recipe(epochs=50_000, batch_size=1, learning_rate=1e-3, select="last")
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
        self._scale = torch.tensor([loss_weight, 1.0], dtype=torch.float64)
        alone = _MINIMUM[surface]
        self.minima = (loss_weight * alone, alone)
        self.baseline = {
            task.name: {"value": minimum}
            for task, minimum in zip(self.tasks, self.minima, strict=True)
        }
        # Of each loss. FAMO's released toy subtracts (-21 alpha, -21); that of `two_optima` is ours.
        least = -21.0 if surface == "one_optimum" else -52.0
        self.lower_bounds = (loss_weight * least, least)

    def losses(self, points: Tensor) -> Tensor:
        """Both losses at `points [..., 2]`, `[..., 2]`."""
        return self.differentiate(points)[0]

    def differentiate(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Both losses at `points [..., 2]`, `[..., 2]`, and their gradients, `[..., task, 2]`.

        The gradients are in closed form, for speed. On the kinks (y = 0, where the start (0, 0) of the
        papers lies, and the floor of the valley) they are those of automatic differentiation.
        """
        x, y = points[..., :1], points[..., 1:]
        upper, lower = torch.tanh(0.5 * y).clamp_min(0.0), torch.tanh(-0.5 * y).clamp_min(0.0)
        bowls, bowls_x, bowls_y = self._bowls(x, y)
        tanh = torch.tanh(y)
        line = -0.5 * x + _LINES + _SIDES * tanh
        size = line.abs()
        valley = size.clamp_min(_LEAST).log() + 6.0
        losses = self._scale * (valley * upper + bowls * lower)

        steepness = torch.where(size >= _LEAST, 1.0 / line, 0.0)  # of the logarithm
        upper_slope = 0.5 * (1.0 - upper**2) * (y >= 0)
        lower_slope = -0.5 * (1.0 - lower**2) * (y <= 0)
        along_x = -0.5 * steepness * upper + bowls_x * lower
        along_y = steepness * _SIDES * (1.0 - tanh**2) * upper + valley * upper_slope
        along_y = along_y + bowls_y * lower + bowls * lower_slope
        return losses, self._scale[:, None] * torch.stack([along_x, along_y], dim=-1)

    def _bowls(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The lower half of both losses, `[..., 2]`, and its derivatives by x and by y."""
        if self.surface == "two_optima":
            values_x, slopes_x = _well(x, 5.45 * _SIDES, 5.5 * _SIDES)
            values_y, slopes_y = _well(y, _SIDES * 0.0, _SIDES * 0.0)
            return values_x + values_y + 1.5, slopes_x, slopes_y
        right, down = x - 7.0 * _SIDES, y + 8.0
        return (right**2 + 0.1 * down**2) / 10.0 - 20.0, 0.2 * right, 0.02 * down

    def finish_all(self, runs: Mapping[str, Path], picture: Path) -> Path | None:
        """The paths of all methods in one picture."""
        from mtrl.supervised.problems.toy_plots import draw_methods, paths_of_runs

        return draw_methods(self, paths_of_runs(self, runs), picture)


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


def _well(value: Tensor, wide: Tensor, narrow: Tensor) -> tuple[Tensor, Tensor]:
    """A sixth power around one centre, minus a quartic and a parabola around another; and its slope."""
    outer, inner = (value - wide) / 4.0, (value - narrow) / 4.0
    height = 0.1 * outer**6 - inner**4 - 1.5 * inner**2
    return height, 0.15 * outer**5 - inner**3 - 0.75 * inner
