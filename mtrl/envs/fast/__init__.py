"""Meta-World's tasks at a multiple of their speed, bit for bit the same.

`fast_class("push-v3")` is a subclass of the library's class, made at run time: the slow helpers are
replaced by exact scalar ones (:mod:`mtrl.envs.fast.sawyer`), and the task's own methods keep their
code but see the fast helpers through a copied globals dictionary (:mod:`mtrl.envs.fast.rebind`).
The library's modules and classes stay as they are, so both versions live in one process and
:func:`mtrl.envs.verify.verify` can compare them.

Exact means: observations, rewards, flags, infos, their Python types, and the simulator's state. Not
kept up to date, as no task reads it: `data.cacc`, `cfrc_int` and `cfrc_ext`.
"""

from __future__ import annotations

import functools
import importlib.metadata
import warnings

# Versions on which `verify` found no difference over all 50 tasks. The replacements lean on details
# of the library (and the library on details of the simulator), so others take the original class.
VERIFIED = frozenset({("3.1.1", "3.3.0")})


@functools.cache
def fast_class(name: str) -> type:
    """The fast class of a v3 task, a subclass of the library's; made once per process.

    Raises:
        KeyError: no such task.
    """
    from metaworld.env_dict import ALL_V3_ENVIRONMENTS

    from mtrl.envs.fast.rebind import fast_subclass

    return fast_subclass(ALL_V3_ENVIRONMENTS[name])


@functools.cache
def supported() -> bool:
    """Whether the installed versions were verified; warns, once per process, where not."""
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
