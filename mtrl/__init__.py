"""mtrl: distributed multi-task reinforcement learning with balanced task gradients.

Importing the package runs nothing. It has three entry points: the `mtrl` command (`mtrl --help`),
:func:`load_policy`, and the balancing package `mtrl.balancing`, which can be used without reinforcement
learning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mtrl.rl.trained_policy import load_policy as load_policy

__version__ = "0.1.0"
__all__ = ["__version__", "load_policy"]


def __getattr__(name: str) -> Any:
    # Deferred, so that `import mtrl` and `mtrl --help` do not import torch.
    if name == "load_policy":
        from mtrl.rl.trained_policy import load_policy

        return load_policy
    raise AttributeError(f"module 'mtrl' has no attribute {name!r}")
