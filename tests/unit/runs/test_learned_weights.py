"""Weights that an earlier run learned: the mean over its log, and the options that ask for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mtrl.runs.learned_weights import read_learned_weights
from mtrl.runs.metric_log import MetricLog

TASKS = ["b", "a"]
KEY = "balance/weight"


def logged(folder: Path) -> str:
    """A log as runs write it: tasks in their order, an unknown weight as null."""
    log = MetricLog(folder, TASKS, tensorboard=False, clock="updates")
    rows = [{KEY: [1.0, 3.0]}, {}, {KEY: [2.0, 2.0]}, {KEY: [float("nan"), 2.0]}]
    for updates, row in enumerate(rows):
        log.write({"updates": updates}, row)
    log.close()
    return str(folder / "metrics.jsonl")


def test_weights_are_an_exponential_mean_in_the_order_of_the_tasks(tmp_path: Path) -> None:
    options = {"log": logged(tmp_path), "normalise": False}
    found = read_learned_weights(options, TASKS, KEY)
    assert found == {"normalise": False, "weights": pytest.approx([1.1, 2.9])}
    assert read_learned_weights(options, ["a", "b"], KEY)["weights"] == pytest.approx([2.9, 1.1])
    options |= {"key": KEY, "decay": 0.5}
    assert read_learned_weights(options, TASKS, "x")["weights"] == pytest.approx([1.5, 2.5])


def test_without_a_log_options_stay_as_they_are() -> None:
    given: tuple[dict, ...] = ({}, {"weights": [1.0]}, {"key": "k"}, {"log": None})
    for options in given:
        assert read_learned_weights(options, TASKS, KEY) == options


def test_bad_options_are_refused(tmp_path: Path) -> None:
    log = logged(tmp_path)
    bad = [
        ({"log": log, "weights": [1.0, 2.0]}, "either `weights` or `log`"),
        ({"log": "nowhere/metrics.jsonl"}, "Found no file"),
        ({"log": 3}, "Found no file"),
        ({"log": log, "key": 3}, "`key` should be"),
        ({"log": log, "key": "v"}, "`v/b`.*Found no record"),
        ({"log": log, "decay": 1.0}, "`decay` should be"),
    ]
    for options, message in bad:
        with pytest.raises(ValueError, match=message):
            read_learned_weights(options, TASKS, KEY)
    with pytest.raises(ValueError, match="Name a run of the same tasks"):
        read_learned_weights({"log": log}, ["a", "c"], KEY)
    Path(log).write_text(json.dumps({f"{KEY}/b": 1.0}) + "\n")
    with pytest.raises(ValueError, match="Found no record"):
        read_learned_weights({"log": log}, TASKS, KEY)
