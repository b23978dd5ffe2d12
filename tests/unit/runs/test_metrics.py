"""The metric log: averages, names, NaN, and going on after a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from mtrl.runs.metrics import MetricLog, read_jsonl

COUNTERS = {"env_steps": 10, "updates": 1, "episodes": 0}


def test_averages_and_names(tmp_path: Path) -> None:
    log = MetricLog(tmp_path, ["a", "b"], tensorboard=False)
    log.add({"x": torch.tensor(1.0), "v": torch.tensor([1.0, 2.0])})
    log.add({"x": torch.tensor(3.0), "v": torch.tensor([3.0, 4.0])})
    means = log.means()
    assert means == {"x": 2.0, "v": [2.0, 3.0]}
    assert log.means() == {}
    log.write(COUNTERS, {**means, "charts/{task}_success_rate": [0.5, float("nan")]})
    log.close()
    (record,) = read_jsonl(tmp_path / "metrics.jsonl")
    assert record == {
        **COUNTERS, "x": 2.0, "v/a": 2.0, "v/b": 3.0,
        "charts/a_success_rate": 0.5, "charts/b_success_rate": None,
    }


def test_what_was_written_after_the_checkpoint_is_dropped(tmp_path: Path) -> None:
    log = MetricLog(tmp_path, [], tensorboard=False)
    log.write(COUNTERS, {"x": 1})
    offset = log.offset()
    log.write(COUNTERS, {"x": 2})
    log.close()
    resumed = MetricLog(tmp_path, [], tensorboard=False, offset=offset)
    resumed.write(COUNTERS, {"x": 3})
    resumed.close()
    assert [r["x"] for r in read_jsonl(tmp_path / "metrics.jsonl")] == [1, 3]


def test_a_torn_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps({"x": 1}) + "\n" + '{"x": 2')
    assert read_jsonl(path) == [{"x": 1}]


def test_tensorboard_gets_scalars(tmp_path: Path) -> None:
    log = MetricLog(tmp_path, ["a"])
    log.write(COUNTERS, {"losses/critic": [0.5]})
    log.close()
    assert list(tmp_path.glob("events.out.tfevents.*"))
