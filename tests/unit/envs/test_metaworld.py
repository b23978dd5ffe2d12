"""Divergence that MuJoCo repairs by itself, on the fast classes and the library's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mtrl.envs import EnvConfig, EpisodeEnv, load_tasks
from mtrl.envs.metaworld import MetaWorldTask

STILL = np.zeros(4, np.float32)


@pytest.fixture(params=[True, False], ids=["fast", "original"])
def env(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> EpisodeEnv:
    monkeypatch.chdir(tmp_path)  # MuJoCo writes a log into the working directory
    config = EnvConfig(tasks=["reach-v3"], num_goals=2, fast=request.param)
    return load_tasks(config, cache=tmp_path / "goals").build(0, 0)


@pytest.mark.parametrize(
    ("quantity", "value"),
    [("qpos", np.nan), ("qpos", 1e12), ("qvel", np.nan), ("qvel", 1e12), ("qfrc_applied", np.inf)],
)
def test_a_state_that_mujoco_resets_by_itself_ends_the_episode(
    env: EpisodeEnv, quantity: str, value: float
) -> None:
    task = env.task
    assert isinstance(task, MetaWorldTask)
    env.reset(options={"goal": 0})
    assert not env.step(STILL)[4]["diverged"]

    getattr(task.sim.data, quantity)[0] = value
    obs, reward, _, truncated, info = env.step(STILL)

    # Nothing in what the step returns gives it away.
    assert np.isfinite(obs).all() and np.isfinite(reward)
    assert np.isfinite(task.sim.data.qpos).all() and np.isfinite(task.sim.data.qvel).all()
    assert info["diverged"] and truncated

    task.sim.data.qfrc_applied[:] = 0.0
    env.reset(options={"goal": 1})
    assert not env.step(STILL)[4]["diverged"], "the next episode is a new one"
