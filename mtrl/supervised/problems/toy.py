"""Two tasks in the plane: the surfaces on which balancing methods are drawn in their papers.

Source: Liu et al., CAGrad, NeurIPS 2021, appendix (`one_optimum`), and the SAM-GS paper
(`two_optima`). Above the axis lies a valley of logarithms where the gradients conflict and differ
in size; below it two bowls, whose minima pull apart. Differs from the papers as printed: the second
logarithm has `+ tanh(-y)`, as in every released code, where two papers print a minus.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from mtrl.balancing import Balancer, build, method_class

Point = tuple[float, float]

LOWER_BOUND = -21.0
"""Below every loss of `one_optimum`: what released code subtracts for methods that need positive
losses."""

_STARTS = ((-8.5, 7.5), (0.0, 0.0), (9.0, 9.0), (-7.5, -0.5), (9.0, -1.0))
_STARTS_TWO = ((-3.5, 5.5), (3.5, 5.5), (-6.5, 2.5), (6.5, 2.5), (0.0, 10.0), (0.0, -8.0))


@dataclass(frozen=True)
class Toy:
    """One of the two surfaces.

    Attributes:
        surface: `one_optimum` or `two_optima` of the sum of the losses.
        scale: factor on the first loss: 0.1 in the figures of Nash-MTL, FAMO, FairGrad and PIVRG, 1
            in those of CAGrad and SAM-GS.
        names: of the tasks.
        shared_input: both tasks read the same parameters and nothing else.
    """

    surface: Literal["one_optimum", "two_optima"] = "one_optimum"
    scale: float = 0.1
    names: tuple[str, str] = ("left", "right")
    shared_input: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        if self.surface not in ("one_optimum", "two_optima"):
            raise ValueError(
                f"`surface` should be one_optimum or two_optima. Found {self.surface!r}."
            )
        if self.scale <= 0:
            raise ValueError(f"`scale` should be positive. Found {self.scale}.")

    @property
    def starts(self) -> tuple[Point, ...]:
        """The points from which the papers descend."""
        return _STARTS if self.surface == "one_optimum" else _STARTS_TWO

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
        left = self.scale * (first * upper + bowls[0] * lower)
        right = second * upper + bowls[1] * lower
        return torch.stack([left, right], dim=-1)


def descend(
    problem: Toy,
    method: str,
    start: Point,
    *,
    steps: int,
    learning_rate: float = 1e-3,
    **options: object,
) -> Tensor:
    """The path of a method from a start with Adam, `[steps + 1, 2]` float64.

    Methods that need positive losses see them above `LOWER_BOUND`, which leaves the gradients as
    they are. Performance, where read, is equal for both tasks.

    Args:
        problem: the surface.
        method: a key of `mtrl.balancing.METHODS`.
        start: a point.
        steps: optimiser steps.
        learning_rate: of Adam; the papers use 0.001 for 20,000 to 50,000 steps.
        **options: of the method.
    """
    point = nn.Parameter(torch.tensor(start, dtype=torch.float64))
    shift = -LOWER_BOUND if method_class(method).positive_losses else 0.0
    aggregator = build(method, 2, 2, **options).double()  # type: ignore[arg-type]
    balancer = Balancer(aggregator, {"point": point}, {}, mode="loop")
    optimizer = torch.optim.Adam([point], learning_rate)
    equal = torch.full((2,), 0.5)
    path = [point.detach().clone()]
    for _ in range(steps):
        balancer.backward(lambda shared: (problem.losses(shared["point"]) + shift, None), equal)
        optimizer.step()
        balancer.after_step()
        path.append(point.detach().clone())
    return torch.stack(path)


def distance_to_front(point: Tensor) -> Tensor:
    """Distance of `point [..., 2]` from the Pareto set of `one_optimum`, for any scale.

    Both bowls fall with |x| up to 7, and y is the minimum of a common profile within 0.08 of
    -8.3552 at x = 0 and -8.4345 at the ends; the set is taken as the parabola through these.
    """
    x, y = point[..., 0], point[..., 1]
    ridge = -8.3552 - 0.0793 * (x.clamp(-7.0, 7.0) / 7.0) ** 2
    return torch.hypot((x.abs() - 7.0).clamp_min(0.0), y - ridge)


def _two_wells(x: Tensor, y: Tensor, sign: int) -> Tensor:
    """A sixth power around one centre, minus a quartic and a parabola around another."""
    total = torch.full_like(x, 1.5)
    for value, wide, narrow in ((x, 5.45 * sign, 5.5 * sign), (y, 0.0, 0.0)):
        outer, inner = (value - wide) / 4.0, (value - narrow) / 4.0
        total = total + 0.1 * outer**6 - inner**4 - 1.5 * inner**2
    return total
