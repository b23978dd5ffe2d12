"""`mtrl verify-env`: 0 where the fast environments are the library's, 4 where one is not."""

from __future__ import annotations

import numpy as np
import pytest

from mtrl.cli import main
from mtrl.envs.fast import sawyer as base


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
