"""The file of single-task success rates: what it gives, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mtrl.rl.baseline import read_baseline

NAMES = ["reach-v3", "push-v3"]


def test_rates_come_in_the_order_of_the_tasks(tmp_path: Path) -> None:
    path = tmp_path / "alone.json"
    path.write_text(json.dumps({"door-open-v3": 0.3, "push-v3": 0.5, "reach-v3": 1}))
    assert list(read_baseline(path, NAMES).items()) == [("reach-v3", 1.0), ("push-v3", 0.5)]


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        ("{", ["not JSON", "reach-v3"]),
        ("[1, 0.5]", ["object of task names", "list"]),
        ('{"reach-v3": 0.5}', ["none of push-v3", "Add"]),
        ('{"success_rate": {"reach-v3": 1, "push-v3": 1}}', ["evaluation", "file of its own"]),
        ('{"reach-v3": 0, "push-v3": 1}', ["reach-v3", "above 0", "env.tasks"]),
        ('{"reach-v3": 90, "push-v3": 100}', ["reach-v3", "90", "percentages"]),
        ('{"reach-v3": -0.1, "push-v3": 1}', ["reach-v3", "-0.1"]),
        ('{"reach-v3": NaN, "push-v3": 1}', ["reach-v3", "nan"]),
        ('{"reach-v3": true, "push-v3": 1}', ["reach-v3", "True"]),
        ('{"reach-v3": "high", "push-v3": 1}', ["reach-v3", "'high'"]),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, content: str, parts: list[str]) -> None:
    path = tmp_path / "alone.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"balancing\.baseline") as error:
        read_baseline(path, NAMES)
    for part in [*parts, str(path)]:
        assert part in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere\.json"):
        read_baseline(tmp_path / "nowhere.json", NAMES)
