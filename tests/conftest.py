"""Shared fixtures: one torch thread, small tasks, a small agent, one embedded Ray for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from mtrl.envs import EnvConfig, TaskSet, load_tasks


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def fake_tasks() -> TaskSet:
    return load_tasks(EnvConfig(tasks="fake3", horizon=20, num_goals=7))


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    from mtrl.distributed.config import RayConfig
    from mtrl.distributed.launch import ray_session

    with ray_session(RayConfig(object_store_mb=128)):
        yield
