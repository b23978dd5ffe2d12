"""The description of the machine that is stored with every result."""

from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path
from typing import Any

from mtrl.runs.provenance import package_commit, package_versions

_PACKAGES = ("metaworld", "mujoco", "numpy", "ray", "torch")


def describe_machine(command: str) -> dict[str, Any]:
    """Commit, date, command, processor, cores, load, and versions of Python and packages.

    Args:
        command: that measures.
    """
    return {
        "git": package_commit(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command,
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        **package_versions(_PACKAGES),
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
