"""The name of mtrl for pip, and the extra that installs each optional package."""

from __future__ import annotations

DISTRIBUTION = "balanced-mtrl"
"""Name for pip; `mtrl` on the package index is another project. The import name is `mtrl`."""

_EXTRA_OF = {
    "gymnasium": "rl",
    "matplotlib": "plot",
    "metaworld": "rl",
    "mujoco": "rl",
    "ray": "ray",
    "rich": "rl",
    "ruamel": "rl",
    "sklearn": "supervised",
    "tensorboard": "rl",
}


def install_command(extra: str) -> str:
    """The shell command that installs an extra."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def missing_extra(error: ImportError, command: str) -> str | None:
    """The message to the user of `command` if an optional package is missing.

    Returns:
        The message, or None if the missing module belongs to no extra.
    """
    package = (error.name or "").partition(".")[0]
    if package not in _EXTRA_OF:
        return None
    extra = _EXTRA_OF[package]
    if extra == "rl":
        # Commands share these small packages. Each command has one extra with all that it needs.
        extra = {"train": "ray", "bench": "ray", "supervised": "supervised", "sweep": "all"}.get(
            command, extra
        )
    return f"`mtrl {command}` needs the package {package!r}. Repair: {install_command(extra)}"
