"""Compiled models, kept per file and process: compiling takes ten times as long as copying."""

# pyright: reportAttributeAccessIssue=false
# (mujoco is a compiled module without type stubs)

from __future__ import annotations

import copy
import functools
from typing import Any

import mujoco


def load_model(path: str) -> Any:
    """A compiled model of one's own: tasks move its bodies and sites."""
    return copy.copy(_compiled(path))


@functools.lru_cache(maxsize=16)  # 20 MB each: enough for MT10, and bounded for MT50
def _compiled(path: str) -> Any:
    return mujoco.MjModel.from_xml_path(path)
