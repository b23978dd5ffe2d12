"""The budget line: shares that add up, the bottleneck with a remedy."""

from __future__ import annotations

import pytest

from mtrl.rl.time_budget import LEARNER, bottleneck, budget_line, time_shares

SECONDS = {
    "waiting": 1.0, "ingest": 0.5, "gradients": 4.0, "sampling": 1.0, "balancing": 2.0, "optimiser": 1.0,
    "publish": 0.3, "evaluation": 0.1, "checkpoint": 0.1,
    "worker_simulation": 9.0, "worker_policy": 4.0, "worker_reset": 2.0,
}  # fmt: skip


def test_the_learner_s_shares_add_up() -> None:
    shares = time_shares(SECONDS, 10.0, 2)
    assert sum(shares[part] for part in LEARNER) == pytest.approx(1.0)
    assert shares["gradients"] == pytest.approx(0.4)
    assert shares["worker_simulation"] == pytest.approx(0.45), "of one worker's time"
    assert shares["worker_idle"] == pytest.approx(0.25)


def test_the_line_names_the_large_parts_first() -> None:
    line = budget_line(time_shares(SECONDS | {"publish": 0.0}, 10.0, 2))
    assert line.startswith("learner gradients 40 %, balancing 20 %")
    assert "workers simulation 45 %, idle 25 %, policy 20 %, reset 10 %" in line
    assert "publish" not in line


@pytest.mark.parametrize("part", LEARNER)
def test_the_largest_part_is_named_with_a_remedy(part: str) -> None:
    seconds = dict.fromkeys(LEARNER, 0.1) | {part: 5.0, "worker_simulation": 9.0}
    assert bottleneck(time_shares(seconds, 10.0, 1)) == LEARNER[part]


def test_idle_workers_are_not_asked_for_more_of() -> None:
    shares = time_shares({"waiting": 9.0, "worker_simulation": 1.0}, 10.0, 1)
    assert "workers wait too" in bottleneck(shares)
