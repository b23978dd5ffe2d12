"""Ray sessions of their own: what the product sets, a cluster that is joined, one that is not there."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mtrl.runs import checkpoint
from tests.helpers import mtrl

pytestmark = pytest.mark.ray
LOOPBACK = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"  # set to 0, Ray keeps a loopback address
RAY_JOB = [
    "train", "-c", "fake", "collect.collector=ray", "schedule.mode=async", "run.tensorboard=false",
    "schedule.total_env_steps=3000", "schedule.warmup_env_steps=900", "evaluation.goals=2",
    "evaluation.final=false", "ray.cpus_per_worker=0.5",
]  # fmt: skip


def test_an_embedded_ray_listens_to_this_machine_only() -> None:
    """In a process that did not import Ray before, and whose environment says nothing."""
    code = (
        "from mtrl.distributed.config import RayConfig\n"
        "from mtrl.distributed.cluster import ray_session\n"
        "with ray_session(RayConfig(object_store_mb=80)):\n"
        "    import ray\n"
        "    print([node['NodeManagerAddress'] for node in ray.nodes()])\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != LOOPBACK}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120
    )
    assert result.stdout == "['127.0.0.1']\n", result.stderr


def test_the_address_of_a_dead_cluster_is_said(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_ports()[0]}"
    result = mtrl(*RAY_JOB, f"run.directory={tmp_path}", f"ray.address={address}", timeout=60)
    assert result.returncode == 3
    assert f"No Ray cluster can be joined at {address}: nothing answers" in result.stderr
    assert "Check `ray.address`" in result.stderr
    assert "Traceback" not in result.stderr


def free_ports() -> list[int]:
    """Below those that Ray gives to workers."""
    free = []
    for port in range(7391, 9000):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            free.append(port)
        if len(free) == 2:
            return free
    raise AssertionError("no two ports are free")


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a cluster of one node that only this machine can see, with a token of its own."""
    monkeypatch.setenv(LOOPBACK, "0")
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    port, client_port = free_ports()
    command = [
        str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--num-cpus=2",
        "--node-ip-address=127.0.0.1", f"--port={port}", "--include-dashboard=false",
        "--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0",
        f"--ray-client-server-port={client_port}", "--object-store-memory=100000000",
    ]  # fmt: skip
    with (tmp_path / "log").open("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 90
        while "Ray runtime started" not in Path(log.name).read_text():
            assert process.poll() is None, Path(log.name).read_text()
            assert time.monotonic() < deadline, Path(log.name).read_text()
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


@pytest.mark.slow  # it starts a cluster of its own
def test_a_run_joins_a_cluster_and_leaves_it_running(tmp_path: Path, cluster: str) -> None:
    for name in ("a", "b"):
        job = [*RAY_JOB, f"run.directory={tmp_path / name}", f"ray.address={cluster}"]
        result = mtrl(*job, timeout=240)
        assert result.returncode == 0, result.stderr
        assert f"Joining the Ray cluster at {cluster}" in result.stderr
        (run,) = (tmp_path / name).iterdir()
        state = checkpoint.load_latest(run / "checkpoints")[1]
        assert state["schedule"]["env_steps"] == 3000
        assert json.loads((run / "status.json").read_text())["state"] == "done"
