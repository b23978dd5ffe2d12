"""Delta-m, its variance and mean ranks against the papers' own tables."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mtrl.report.supervised_tables import mean_ranks
from mtrl.supervised import Metric, Task
from mtrl.supervised.task_metrics import (
    Statistics,
    absolute_error,
    accuracy,
    drops,
    squared_error,
    summary,
    task_drops,
)

# NYUv2 in PIVRG (CVPR 2025), table 1: nine metrics, mean rank, Delta-m; then Var[Delta m_i].
NYUV2 = """
LS       39.29 65.33 0.5493 0.2263 28.15 23.96 22.09 47.50 61.08 11.78  5.59 259.13
SI       38.45 64.27 0.5354 0.2201 27.60 23.37 22.53 48.57 62.32 10.22  4.39 247.8
RLW      37.17 63.77 0.5759 0.2410 28.27 24.18 22.26 47.05 60.62 14.22  7.78 205.3
DWA      39.11 65.31 0.5510 0.2285 27.61 23.18 24.17 50.18 62.39 10.67  3.57 191.9
UW       36.87 63.17 0.5446 0.2260 27.04 22.61 23.54 49.05 63.65 10.33  4.05 190.7
MGDA     30.47 59.90 0.6070 0.2555 24.88 19.45 29.18 56.88 69.36  8.11  1.38  68.7
PCGRAD   38.06 64.64 0.5550 0.2325 27.41 22.80 23.86 49.83 63.14 10.89  3.97 173.7
GRADDROP 39.39 65.12 0.5455 0.2279 27.48 22.96 23.38 49.44 62.87  9.89  3.58 204.5
CAGRAD   39.79 65.49 0.5486 0.2250 26.31 21.58 25.61 52.36 65.58  6.89  0.20 137.9
IMTL-G   39.35 65.60 0.5426 0.2256 26.02 21.19 26.20 53.13 66.24  6.11 -0.76 124.0
MOCO     40.30 66.07 0.5575 0.2135 26.67 21.83 25.61 51.78 64.85  6.22  0.16 163.1
NASH     40.13 65.93 0.5261 0.2171 25.26 20.08 28.40 55.47 68.15  3.67 -4.04 108.0
FAMO     38.88 64.90 0.5474 0.2194 25.06 19.57 29.21 56.61 68.98  5.33 -4.10  74.7
FAIRGRAD 39.74 66.01 0.5377 0.2236 24.84 19.60 29.26 56.58 69.16  3.44 -4.66  71.6
PIVRG    39.90 65.74 0.5365 0.2243 24.30 18.80 30.95 58.26 70.38  2.33 -6.50  52.21
"""
ROWS = {line.split()[0]: [float(x) for x in line.split()[1:]] for line in NYUV2.split("\n") if line}
STL = [38.30, 63.76, 0.6754, 0.2780, 25.01, 19.21, 30.14, 57.20, 69.15]
NAMES = [["miou", "pixacc"], ["abs", "rel"], ["mean", "median", "11", "22", "30"]]
HIGHER = [[True, True], [False, False], [False, False, True, True, True]]
TASKS = tuple(
    Task(task, torch.nn.functional.mse_loss, tuple(
        Metric(name, higher, squared_error) for name, higher in zip(names, directions, strict=True)
    ))
    for task, names, directions in zip(("seg", "depth", "normal"), NAMES, HIGHER, strict=True)
)  # fmt: skip


def by_task(values: list[float]) -> list[dict[str, float]]:
    left = iter(values)
    return [{name: next(left) for name in names} for names in NAMES]


BASELINE = dict(zip(("seg", "depth", "normal"), by_task(STL), strict=True))


def published(name: str) -> dict[str, float]:
    return summary(drops(TASKS, by_task(ROWS[name][:9]), BASELINE))


@pytest.mark.parametrize("name", ROWS)
def test_published_delta_m_and_variance(name: str) -> None:
    found = published(name)
    # IMTL-G's Delta-m and Nash's variance cannot be had from the printed metrics, rounded as they are.
    if name != "IMTL-G":
        assert found["delta_m"] == pytest.approx(ROWS[name][10], abs=0.016)
    if name != "NASH":
        assert found["variance"] == pytest.approx(ROWS[name][11], abs=0.25)


@pytest.mark.parametrize(
    ("name", "nested"),
    [("LS", -0.88), ("NASH", -7.65), ("FAIRGRAD", -7.52), ("PIVRG", -8.61)],
)
def test_the_other_definition_has_another_size_and_sign(name: str, nested: float) -> None:
    found = published(name)
    assert found["delta_m_task"] == pytest.approx(nested, abs=0.01)
    assert found["delta_mtm"] == -found["delta_m_task"]


def test_variance_is_over_metrics_not_tasks() -> None:
    assert published("LS")["variance"] == pytest.approx(259.13, abs=0.02)
    assert published("PIVRG")["variance"] == pytest.approx(52.21, abs=0.02)
    per_task = np.var(task_drops(drops(TASKS, by_task(ROWS["LS"][:9]), BASELINE)))
    assert per_task == pytest.approx(231.5, abs=0.1)


def test_published_mean_ranks() -> None:
    table = np.array([row[:9] for row in ROWS.values()])
    found = mean_ranks(table, np.array([flag for row in HIGHER for flag in row]))
    # Ties share their mean rank here; the paper does not say what it does with them.
    assert found == pytest.approx([row[9] for row in ROWS.values()], abs=0.12)
    exact = np.isclose(found, [row[9] for row in ROWS.values()], atol=0.006)
    assert exact.sum() >= 11


# What RGB adds to that table: its own rows and the mean rank of each in RGB's table 1.
RGB_ROWS = {
    "BILB4MTL": [38.04, 63.90, 0.5402, 0.2278, 24.70, 19.19, 29.97, 57.44, 69.69],
    "ALIGNED": [40.82, 66.33, 0.5300, 0.2200, 25.19, 19.71, 28.88, 56.23, 68.54],
    "GO4ALIGN": [40.42, 65.37, 0.5492, 0.2167, 24.76, 18.94, 30.54, 57.87, 69.84],
    "CONSMTL": [40.33, 65.32, 0.5491, 0.2151, 24.35, 18.80, 31.06, 58.28, 70.31],
    "RGB": [41.93, 67.56, 0.5294, 0.2237, 24.74, 19.30, 29.10, 56.71, 69.42],
}
RGB_RANKS = {
    **{"STL": 11.89, "ALIGNED": 7.00, "GO4ALIGN": 5.11, "RGB": 4.89, "CONSMTL": 4.11},
    "PIVRG": 3.89,
}


def test_rgb_s_table_ranks_single_tasks_and_is_flat_although_its_formula_is_nested() -> None:
    rows = {"STL": STL, **{name: row[:9] for name, row in ROWS.items()}, **RGB_ROWS}
    table, higher = np.array(list(rows.values())), np.array([h for row in HIGHER for h in row])
    flat = dict(zip(rows, mean_ranks(table, higher), strict=True))
    # Ties share their mean rank here, and their best one there: 18.80 stands twice.
    assert {name: flat[name] for name in RGB_RANKS} == pytest.approx(RGB_RANKS, abs=0.06)
    assert {n for n in RGB_RANKS if abs(flat[n] - RGB_RANKS[n]) < 0.006} >= {
        "STL",
        "RGB",
        "ALIGNED",
    }
    tasks = [task for task, names in zip("sdn", NAMES, strict=True) for _ in names]
    nested = dict(zip(rows, mean_ranks(table, higher, tasks), strict=True))
    assert nested["RGB"] == pytest.approx(4.23, abs=0.006)
    assert nested["PIVRG"] == pytest.approx(5.17, abs=0.006)


def test_nested_ranks_are_means_within_tasks_first() -> None:
    table = np.array([[1.0, 1.0, 9.0], [2.0, 2.0, 5.0]])
    lower = np.zeros(3, dtype=bool)
    assert mean_ranks(table, lower).tolist() == pytest.approx([4 / 3, 5 / 3])
    assert mean_ranks(table, lower, ["a", "a", "b"]).tolist() == [1.5, 1.5]


def test_cityscapes_and_one_metric_per_task_agree_in_both_definitions() -> None:
    tasks = TASKS[:2]
    baseline = {"seg": {"miou": 74.01, "pixacc": 93.16}, "depth": {"abs": 0.0125, "rel": 27.77}}
    ls = [{"miou": 75.18, "pixacc": 93.49}, {"abs": 0.0155, "rel": 46.77}]
    found = summary(drops(tasks, ls, baseline))
    assert found["delta_m"] == pytest.approx(22.60, abs=0.15)
    assert found["delta_m"] == pytest.approx(found["delta_m_task"])


def test_a_drop_is_positive_where_worse_and_nan_without_a_reference() -> None:
    task = (Task("t", torch.nn.functional.mse_loss, (Metric("a", True, accuracy),)),)
    assert drops(task, [{"a": 0.5}], {"t": {"a": 1.0}}) == [{"a": 50.0}]
    assert math.isnan(drops(task, [{"a": 0.5}], {"t": {"a": 0.0}})[0]["a"])
    lower = (Task("t", torch.nn.functional.mse_loss, (Metric("a", False, accuracy),)),)
    assert drops(lower, [{"a": -1.5}], {"t": {"a": -1.0}}) == [{"a": -50.0}]


def test_batches_add_up_to_the_whole_split() -> None:
    tasks = (
        Task("c", torch.nn.functional.cross_entropy, (Metric("accuracy", True, accuracy),)),
        Task("r", torch.nn.functional.mse_loss, (
            Metric("mse", False, squared_error), Metric("mae", False, absolute_error),
        )),
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    logits, classes = torch.randn(50, 10, generator=generator), torch.arange(50) % 10
    images, wanted = torch.rand(2, 50, 4, generator=generator)
    statistics = Statistics(tasks)
    for rows in torch.arange(50).split(16):  # the last batch is smaller: it must not count more
        losses = torch.stack([
            tasks[0].loss(logits[rows], classes[rows]), tasks[1].loss(images[rows], wanted[rows]),
        ])  # fmt: skip
        statistics.add((logits[rows], images[rows]), (classes[rows], wanted[rows]), losses)
    scores = statistics.scores()
    assert scores.metrics[0]["accuracy"] == pytest.approx(
        float((logits.argmax(-1) == classes).double().mean())
    )
    assert scores.metrics[1]["mse"] == pytest.approx(float((images - wanted).square().mean()))
    assert scores.metrics[1]["mae"] == pytest.approx(float((images - wanted).abs().mean()))
    assert scores.losses[0] == pytest.approx(float(tasks[0].loss(logits, classes)), rel=1e-6)

    resumed = Statistics(tasks)
    resumed.load_state_dict(statistics.state_dict())
    assert resumed.scores() == scores
    assert math.isnan(Statistics(tasks).scores().mean_loss)


@given(st.lists(st.floats(0.1, 10), min_size=9, max_size=9), st.floats(0.1, 10))
def test_delta_m_does_not_depend_on_units(values: list[float], factor: float) -> None:
    first = summary(drops(TASKS, by_task(values), BASELINE))
    scaled = {t: {k: v * factor for k, v in row.items()} for t, row in BASELINE.items()}
    second = summary(drops(TASKS, by_task([v * factor for v in values]), scaled))
    assert first == pytest.approx(second, rel=1e-9, abs=1e-9)


def test_ties_share_their_mean_rank() -> None:
    table = np.array([[1.0, 5.0], [1.0, 6.0], [2.0, 7.0]])
    assert mean_ranks(table, np.array([True, False])).tolist() == [1.75, 2.25, 2.0]
