"""A cache of compiled models: compiling takes ten times as long as copying."""

# pyright: reportAttributeAccessIssue=false
# (mujoco is a compiled module without type stubs)

from __future__ import annotations

import copy
import functools
from typing import Any

import mujoco


def load_model(path: str) -> Any:
    """A private copy of the compiled model in a file; tasks move its bodies and sites."""
    return copy.copy(_compiled(path))


@functools.lru_cache(maxsize=16)  # 20 MB each; holds all of MT10, and bounds the memory for MT50
def _compiled(path: str) -> Any:
    return mujoco.MjModel.from_xml_path(path)
