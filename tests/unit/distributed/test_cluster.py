"""The address of a cluster is tried before Ray is, which would wait for minutes."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from unittest import mock

import pytest

from mtrl.distributed import cluster
from mtrl.distributed.cluster import ResourceError, _reach, check_machine
from mtrl.distributed.config import RayConfig


@pytest.fixture
def port() -> Iterator[int]:
    """A port of this machine on which something listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("form", ["{}", "ray://{}"])
def test_an_address_where_something_answers(port: int, form: str) -> None:
    _reach(form.format(f"127.0.0.1:{port}"))


@pytest.mark.parametrize("form", ["{}", "ray://{}"])
def test_an_address_where_nothing_does(form: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ConnectionError, match=f"nothing answers at 127.0.0.1:{port}"):
        _reach(form.format(f"127.0.0.1:{port}"))


def test_auto_is_where_ray_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster that has ended leaves its address behind."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    with pytest.raises(ConnectionError, match=f"nothing answers at 127.0.0.1:{port}"):
        _reach("auto")


def test_a_host_that_is_silent_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(address: tuple[str, int], timeout: float) -> None:
        assert timeout <= 5
        raise TimeoutError("timed out")

    monkeypatch.setattr(cluster.socket, "create_connection", silent)
    with pytest.raises(ConnectionError, match="timed out"):
        _reach("192.0.2.1:6379")


@pytest.mark.parametrize("address", ["somewhere", "127.0.0.1", "127.0.0.1:port", "ray://host"])
def test_what_is_not_an_address(address: str) -> None:
    with pytest.raises(ValueError, match=r"[Aa]ddress|HOST:PORT"):
        _reach(address)


def test_a_dead_address_is_refused_before_any_work() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    config = RayConfig(address=f"127.0.0.1:{port}")
    with mock.patch.dict(sys.modules), pytest.raises(ResourceError, match="nothing answers"):
        sys.modules.pop("ray", None)  # another test's session would do
        check_machine(config, num_workers=1)


def test_more_cpus_than_the_machine_has_are_refused() -> None:
    with mock.patch.dict(sys.modules):
        sys.modules.pop("ray", None)
        check_machine(RayConfig(cpus_per_worker=1e-3), num_workers=2)
        with pytest.raises(ResourceError, match=r"reserve 2e\+06 CPUs"):
            check_machine(RayConfig(cpus_per_worker=1e6), num_workers=2)
