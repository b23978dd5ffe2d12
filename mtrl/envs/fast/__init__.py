"""Fast versions of Meta-World's tasks that give the same bits.

`fast_class("push-v3")` makes a subclass of the library's class at run time. The base class is replaced
by one with exact scalar helpers (:mod:`mtrl.envs.fast.sawyer`). The task's methods keep their code, but
find the fast helpers in a copy of their globals (:mod:`mtrl.envs.fast.rebind`). The library's modules
and classes do not change, so both versions can run in one process, and
:func:`mtrl.envs.verify.verify` compares them.

The same are observations, rewards, flags, infos, their Python types, and the simulator's state.
Exceptions are `data.cacc`, `cfrc_int` and `cfrc_ext`: they are not updated, since no task reads them.
"""

from __future__ import annotations

import functools
import importlib.metadata
import warnings

# Versions for which `verify` found no difference in all 50 tasks. The replacements depend on details
# of the library and of the simulator, so other versions use the original class.
VERIFIED = frozenset({("3.1.1", "3.3.0")})


@functools.cache
def fast_class(name: str) -> type:
    """The fast class of a v3 task: a subclass of the library's class, made once per process.

    Raises:
        KeyError: the task is unknown.
    """
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS

    from mtrl.envs.fast.rebind import fast_subclass

    return fast_subclass(ALL_V3_ENVIRONMENTS[name])


@functools.cache
def supported() -> bool:
    """Whether the installed versions were verified; if not, warn once per process."""
    versions = installed_versions()
    if versions in VERIFIED:
        return True
    verified = ", ".join(f"metaworld {a} with mujoco {b}" for a, b in sorted(VERIFIED))
    warnings.warn(
        f"The fast environments were verified for {verified}. Found metaworld {versions[0]} with"
        f" mujoco {versions[1]}: using the original, slower classes.",
        RuntimeWarning,
        stacklevel=2,
    )
    return False


def installed_versions() -> tuple[str, str]:
    """Versions of metaworld and mujoco."""
    return importlib.metadata.version("metaworld"), importlib.metadata.version("mujoco")


__all__ = ["VERIFIED", "fast_class", "installed_versions", "supported"]
