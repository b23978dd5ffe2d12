"""Ray for the time of a job: embedded on this machine, or a cluster that is joined."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import time
from collections.abc import Iterator

from mtrl.distributed.config import RayConfig
from mtrl.errors import ENVIRONMENT, MtrlError

_ANSWER_S = 5.0  # for a cluster to accept a connection


class ResourceError(MtrlError, RuntimeError):
    """The machine or the cluster cannot run the job."""

    exit_code = ENVIRONMENT


@contextlib.contextmanager
def ray_session(config: RayConfig) -> Iterator[None]:
    """Ray for the time of a job: embedded on this machine, or a cluster joined.

    Raises:
        ResourceError: no cluster answers at the address.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not config.address:
        # Ray turns a loopback address into the host's own, and then listens to everyone, unless told
        # that there is no cluster. It reads this when it is imported.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    import ray

    if ray.is_initialized():  # the caller's own session, as in tests and notebooks
        yield
        return
    try:
        if config.address:
            check_address(config.address)
            ray.init(address=config.address, log_to_driver=False)
        else:
            ray.init(
                address="local",
                include_dashboard=False,
                object_store_memory=config.object_store_mb * 2**20,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except (OSError, RuntimeError, ValueError) as error:
        if isinstance(error, ResourceError):
            raise
        if config.address:
            raise _not_joined(config.address, error) from error
        raise ResourceError(
            f"Ray did not start on this machine: {error}. `mtrl doctor` tests Ray."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def check_address(address: str) -> None:
    """Find out whether anything answers at the address of a cluster; Ray itself waits for minutes.

    Raises:
        ResourceError: nothing does, or it is not an address.
    """
    try:
        _reach(address)
    except (OSError, ValueError) as error:
        raise _not_joined(address, error) from error


def _not_joined(address: str, error: Exception) -> ResourceError:
    return ResourceError(
        f"No Ray cluster can be joined at {address}: {error}. Check `ray.address`, or leave it empty; a"
        " cluster with a token wants RAY_AUTH_MODE=token exported."
    )


def _reach(address: str) -> None:
    from ray._private.services import canonicalize_bootstrap_address

    client = "ray://"
    # Ray alone knows where `auto` is, and puts the host's own address in place of a loopback one.
    direct = not address.startswith(client)
    target = canonicalize_bootstrap_address(address) if direct else address[len(client) :]
    host, _, port = (target or "").rpartition(":")
    if not (host and port.isdigit()):
        raise ValueError(f"expected `auto` or HOST:PORT, found {address!r}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S).close()
    except OSError as error:
        raise ConnectionError(
            f"nothing answers at {target} ({error}); on the cluster, `ray status` says whether it runs"
        ) from error


def check_machine(config: RayConfig, num_workers: int) -> None:
    """What is known about Ray before it starts and before any other work.

    Args:
        config: where workers would run.
        num_workers: that would reserve CPUs.

    Raises:
        ResourceError: nothing answers at the cluster's address, or an embedded Ray, which counts at
            most the CPUs of this machine, cannot have those that the workers reserve.
    """
    already = sys.modules.get("ray")
    if already and already.is_initialized():
        return
    if config.address:
        check_address(config.address)
    else:
        _check_cpus(num_workers, config.cpus_per_worker, os.cpu_count() or 1)


def check_cluster(num_workers: int, cpus_per_worker: float) -> None:
    """Raise `ResourceError` if Ray has fewer CPUs than the workers reserve."""
    _check_cpus(num_workers, cpus_per_worker, count_cpus())


def count_cpus() -> float:
    """The CPUs of the Ray that runs, busy or not."""
    import ray

    return ray.cluster_resources().get("CPU", 0)


def _check_cpus(num_workers: int, cpus_per_worker: float, available: float) -> None:
    wanted = num_workers * cpus_per_worker
    if wanted > available:
        raise ResourceError(
            f"`collect.num_workers` is {num_workers}; they reserve {wanted:g} CPUs, but"
            f" Ray has {available:g}. Use fewer workers, or lower `ray.cpus_per_worker`."
        )


def ping_ray() -> tuple[float, float]:
    """Start an embedded Ray and run a task on it: `(CPUs, seconds)`."""
    import ray

    start = time.perf_counter()
    with ray_session(RayConfig(object_store_mb=80)):
        assert ray.get(ray.remote(lambda: 1).remote()) == 1
        return count_cpus(), time.perf_counter() - start


def describe(config: RayConfig) -> str:
    """Where a job's workers will run, for the person who waits."""
    if config.address:
        return f"Joining the Ray cluster at {config.address}."
    return "Starting an embedded Ray on 127.0.0.1."
