"""`mtrl verify-env`: 0 where the fast environments are the library's, 4 where one is not."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mtrl.cli import main
from mtrl.envs.fast import sawyer as base
from mtrl.envs.verify import Difference, Report
from mtrl.envs.verify_in_processes import record


def test_what_is_identical_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify-env", "--tasks", "reach-v3", "--steps", "16"]) == 0
    assert "1 tasks, 16 steps, 8 resets: 0 tasks differ" in capsys.readouterr().out


def test_a_difference_ends_with_4_and_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = base.FastSawyerEnv._get_obs

    def wrong(self: base.FastSawyerEnv) -> np.ndarray:
        return np.nextafter(right(self), 1)

    monkeypatch.setattr(base.FastSawyerEnv, "_get_obs", wrong)
    assert main(["verify-env", "--tasks", "reach-v3", "--steps", "16"]) == 4
    shown = capsys.readouterr().out
    assert "1 tasks differ" in shown
    assert "reach-v3, step 0" in shown
    assert "obs[0]" in shown


def test_processes_share_the_tasks_and_json_is_a_record(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tasks = ["--tasks", "reach-v3,drawer-close-v3", "--steps", "16", "--processes", "2"]
    assert main(["verify-env", *tasks, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["task"] for row in found["tasks"]] == ["reach-v3", "drawer-close-v3"]
    assert all(row["steps"] == 16 and row["difference"] == "" for row in found["tasks"])
    assert (found["steps"], found["resets"], found["tasks that differ"]) == (32, 16, 0)
    assert found["machine"]["command"].startswith("mtrl verify-env --tasks reach-v3,drawer")


def test_the_record_of_a_comparison_keeps_what_differs() -> None:
    difference = Difference("a", 6, "walk", "reward", "1", "2")
    found = record(Report({"a": 7}, {"a": 2}, {"a": 1}, [difference]))
    assert found["tasks that differ"] == 1
    assert found["tasks"] == [
        {
            "task": "a",
            "steps": 7,
            "resets": 2,
            "same exceptions": 1,
            "difference": "a, step 6, mode walk, reward: original 1, fast 2",
        }
    ]
