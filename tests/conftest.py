"""Shared fixtures: one torch thread, small tasks, a small agent, one embedded Ray for all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

from mtrl.envs import EnvConfig, TaskSet, load_tasks

# `ray_session` sets this itself, but Ray reads it when it is imported, which test files do before. That
# the product sets it is tested in a process of its own (`test_ray_sessions.py`).
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that start Ray run in one process, one after another: they share a Ray, and its CPUs."""
    for item in items:
        if config.pluginmanager.hasplugin("xdist") and item.get_closest_marker("ray"):
            item.add_marker(pytest.mark.xdist_group("ray"))


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def fake_tasks() -> TaskSet:
    return load_tasks(EnvConfig(tasks="fake3", horizon=20, num_goals=7))


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    from mtrl.distributed.cluster import ray_session
    from mtrl.distributed.config import RayConfig

    with ray_session(RayConfig(object_store_mb=128)):
        yield
