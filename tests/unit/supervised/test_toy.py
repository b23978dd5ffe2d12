"""The two-task toy problem: its minima, and where every method goes from the same start."""

from __future__ import annotations

import pytest
import torch
from scipy.optimize import minimize
from torch import nn

from mtrl.balancing import METHODS, Balancer, build, method_class
from mtrl.supervised.problems.toy import STARTS, Point, Toy, distance_to_front, pareto_front

# Ends after 100 steps of Adam at 0.3 from (-7.5, -0.5) on `one_optimum` at scale 0.1, recorded
# here, where no paper documents them. RLW and GradDrop are random and only have to arrive.
ENDS = {
    "ls": (-5.72, -7.14),
    "fixed": (-5.72, -7.14),
    "si": (-6.94, -8.51),
    "dwa": (-5.88, -7.11),
    "uw": (-6.65, -6.83),
    "gradnorm": (4.67, -6.31),
    "imtl_l": (-6.65, -6.83),
    "famo": (-6.74, -7.45),
    "go4align": (-6.94, -8.50),
    "mgda": (0.02, -8.44),
    "pcgrad": (-4.33, -7.62),
    "ri_pcgrad": (-4.36, -8.41),
    "gradvac": (-4.68, -7.62),
    "cagrad": (-5.58, -7.30),
    "imtl_g": (-0.57, -8.48),
    "imtl": (-0.71, -8.36),
    "edm": (-0.57, -8.48),
    "cdtt": (3.26, -8.45),
    "moco": (5.93, -11.35),
    "nash_mtl": (-0.45, -8.36),
    "fairgrad": (0.78, -8.29),
    "aligned_mtl": (-2.31, -8.53),
    "pivrg": (0.78, -8.29),
    "sam_gs": (-2.08, -7.58),
    "rgb": (-0.50, -8.36),
    "upgrad": (-4.33, -7.62),
}
# As far as 50,000 steps of 0.001 with the usual betas go: see `Toy`.
PAPERS = {"steps": 2500, "learning_rate": Toy.recipe.learning_rate, "betas": Toy.recipe.betas}
OPTIONS: dict[str, dict[str, object]] = {
    "fixed": {"weights": [1.0, 1.0]},
    "famo": {"weight_decay": 0.0},
}


def descend(
    problem: Toy,
    method: str,
    start: Point,
    *,
    steps: int,
    learning_rate: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    **options: object,
) -> torch.Tensor:
    """The path of a method with Adam, `[steps + 1, 2]`; performance, where read, is equal."""
    point = nn.Parameter(torch.tensor(start, dtype=torch.float64))
    shift = -problem.lower_bound if method_class(method).positive_losses else 0.0
    balancer = Balancer(build(method, 2, 2, **options).double(), {"point": point}, {}, mode="loop")
    optimizer = torch.optim.Adam([point], learning_rate, betas=betas)
    path = [point.detach().clone()]
    for _ in range(steps):
        balancer.backward(
            lambda shared: (problem.losses(shared["point"]) + shift, None), torch.full((2,), 0.5)
        )
        optimizer.step()
        balancer.after_step()
        path.append(point.detach().clone())
    return torch.stack(path)


def minimum(problem: Toy, near: tuple[float, float], task: int | None) -> tuple[float, list[float]]:
    def value(point: list[float]) -> float:
        losses = problem.losses(torch.tensor(point, dtype=torch.float64))
        return float(losses.sum() if task is None else losses[task])

    options = {"xatol": 1e-7, "fatol": 1e-10}
    result = minimize(value, near, method="Nelder-Mead", options=options)
    return float(result.fun), result.x.tolist()


@pytest.mark.parametrize(
    ("problem", "near", "task", "value", "point"),
    [
        (Toy(loss_weight=1.0), (6, -8), 0, -19.98943, (7.0, -8.4345)),
        (Toy(loss_weight=1.0), (-6, -8), 1, -19.98943, (-7.0, -8.4345)),
        (Toy(loss_weight=1.0), (1, -8), None, -30.1833, (0.0, -8.3551)),
        (Toy(loss_weight=0.1), (-5, -8), None, -20.2073, (-5.7273, -8.4094)),
        (Toy(surface="two_optima", loss_weight=1.0), (-5, -10), 0, -50.2938, (-5.4565, -10.8427)),
        (Toy(surface="two_optima", loss_weight=1.0), (5, -10), 1, -50.2938, (5.4565, -10.8427)),
        (Toy(surface="two_optima", loss_weight=1.0), (5, -10), None, -74.1340, (5.4546, -10.8426)),
    ],
)
def test_minima_are_those_of_the_released_surfaces(
    problem: Toy, near: tuple[float, float], task: int | None, value: float, point: tuple
) -> None:
    found, at = minimum(problem, near, task)
    assert found == pytest.approx(value, abs=1e-4)
    assert at == pytest.approx(point, abs=1e-3)


def test_losses_are_batched_and_differentiable_at_every_start() -> None:
    for problem in (Toy(), Toy(surface="two_optima", loss_weight=1.0)):
        points = torch.tensor(problem.starts, dtype=torch.float64, requires_grad=True)
        losses = problem.losses(points)
        assert losses.shape == (len(problem.starts), 2)
        (gradient,) = torch.autograd.grad(losses.sum(), points)
        assert torch.isfinite(gradient).all()
        for i, start in enumerate(problem.starts):
            single = problem.losses(torch.tensor(start, dtype=torch.float64))
            torch.testing.assert_close(single, losses[i].detach())


def test_starts_are_those_of_the_papers() -> None:
    counts = {(s, p): len(points) for s, rows in STARTS.items() for p, points in rows.items()}
    assert counts == {
        ("one_optimum", "cagrad"): 5, ("one_optimum", "sam_gs"): 7, ("two_optima", "sam_gs"): 6,
    }  # fmt: skip
    assert Toy().copies == 5
    assert Toy(starts="sam_gs").copies == 7


def test_no_point_beats_the_front_in_both_losses() -> None:
    problem = Toy()
    front = problem.losses(pareto_front())
    generator = torch.Generator().manual_seed(0)
    points = 24.0 * torch.rand(4000, 2, generator=generator, dtype=torch.float64) - 12.0
    losses = problem.losses(points)
    beaten = (losses[:, None] < front[None] - 2e-3).all(-1)
    assert not beaten.any()


def test_front_holds_the_documented_points() -> None:
    points = torch.tensor([[0.0, -8.3552], [7.0, -8.4345], [-5.7273, -8.4094], [9.0, -8.4345]])
    torch.testing.assert_close(
        distance_to_front(points), torch.tensor([0.0, 0.0, 0.0, 2.0]), atol=2e-3, rtol=0
    )


@pytest.mark.parametrize("name", list(METHODS))
def test_every_method_descends_to_its_recorded_end(name: str) -> None:
    problem = Toy()
    path = descend(
        problem, name, (-7.5, -0.5), steps=100, learning_rate=0.3, **OPTIONS.get(name, {})
    )
    assert torch.isfinite(path).all()
    start, end = problem.losses(path[0]), problem.losses(path[-1])
    # Not every method improves both losses, but all improve the sum.
    assert float(end.sum()) < float(start.sum())
    if name in ENDS:
        assert path[-1].tolist() == pytest.approx(ENDS[name], abs=0.06)
    else:
        assert float(path[-1, 1]) < -5.0


def test_nash_ends_on_the_front() -> None:
    problem = Toy()
    path = descend(problem, "nash_mtl", (-7.5, -0.5), steps=300, learning_rate=0.1)
    assert float(distance_to_front(path[-1])) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nash_mtl", "fairgrad", "pivrg", "mgda", "imtl_g", "pcgrad"])
def test_documented_methods_end_on_the_front_from_every_start(name: str) -> None:
    problem = Toy()
    for start in problem.starts:
        path = descend(problem, name, start, **PAPERS)
        assert float(distance_to_front(path[-1])) < 0.2, start


@pytest.mark.slow
def test_plain_sum_ends_near_the_optimum_of_the_sum_from_an_easy_start() -> None:
    path = descend(Toy(), "ls", (-7.5, -0.5), **PAPERS)
    assert path[-1].tolist() == pytest.approx((-5.7273, -8.4094), abs=0.1)


@pytest.mark.parametrize("surface", STARTS)
@pytest.mark.parametrize("weight", [0.1, 1.0, 3.0])
def test_every_loss_is_above_the_lower_bound(surface: str, weight: float) -> None:
    problem = Toy(surface=surface, loss_weight=weight)
    axis = torch.linspace(-12, 12, 241, dtype=torch.float64)
    points = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1)
    assert float(problem.losses(points).min()) > problem.lower_bound


def test_wrong_surfaces_are_refused() -> None:
    with pytest.raises(ValueError, match="one_optimum or two_optima"):
        Toy(surface="three_optima")
    with pytest.raises(ValueError, match="should be positive"):
        Toy(loss_weight=0.0)
    with pytest.raises(ValueError, match="sam_gs on two_optima"):
        Toy(surface="two_optima", starts="cagrad")
