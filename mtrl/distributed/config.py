"""The configuration of Ray."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt


@dataclass(frozen=True)
class RayConfig:
    """Where workers run.

    Attributes:
        address: of a cluster to join; empty starts an embedded Ray on this machine, without dashboard
            and bound to 127.0.0.1.
        cpus_per_worker: CPUs that each worker and the evaluator reserve.
        object_store_mb: memory of an embedded Ray's object store.
    """

    address: str = ""
    cpus_per_worker: Annotated[float, Gt(0)] = 1.0
    object_store_mb: Annotated[int, Ge(80)] = 256
