"""Architectures of actor and critics, their layers, and the squashed Gaussian.

The package imports torch only. An architecture is one file and one line in :data:`ARCHITECTURES`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence

from mtrl.networks.architecture import Acting, Architecture
from mtrl.networks.multi_head import MultiHead
from mtrl.networks.single_head import SingleHead
from mtrl.networks.squashed_gaussian import sample_squashed, squash_log_std

__all__ = [
    "ARCHITECTURES",
    "Acting",
    "Architecture",
    "architecture_class",
    "build_architecture",
    "check_architecture",
    "sample_squashed",
    "squash_log_std",
]

ARCHITECTURES: dict[str, type[Architecture]] = {
    "multi_head": MultiHead,
    "single_head": SingleHead,
}

# Keyword arguments that the learner passes to every architecture; the others are its options.
_COMMON = {"members", "layer_norm", "task_one_hot", "head_init", "product_dtype"}


def architecture_class(name: str) -> type[Architecture]:
    """The class of an architecture.

    Raises:
        ValueError: the architecture is unknown.
    """
    if name not in ARCHITECTURES:
        raise ValueError(
            f"Unknown architecture {name!r}. Expected one of {', '.join(ARCHITECTURES)}."
        )
    return ARCHITECTURES[name]


def check_architecture(name: str, options: Mapping[str, object]) -> None:
    """Raise `ValueError` for an unknown architecture or option."""
    parameters = inspect.signature(architecture_class(name).__init__).parameters
    known = [
        key
        for key, parameter in parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY and key not in _COMMON
    ]
    for key in options:
        if key not in known:
            raise ValueError(
                f"The architecture {name!r} has no option {key!r}. Its options:"
                f" {', '.join(known) or 'none'}."
            )


def build_architecture(
    name: str,
    num_tasks: int,
    in_features: int,
    out_features: int,
    widths: Sequence[int],
    *,
    options: Mapping[str, object],
    **common: object,
) -> Architecture:
    """Build a network.

    Args:
        name: a key of :data:`ARCHITECTURES`.
        num_tasks: m.
        in_features: size of an input row.
        out_features: size of an output row.
        widths: widths of the hidden layers.
        options: options of the architecture.
        **common: arguments of every architecture; see
            :class:`mtrl.networks.trunk_network.TrunkNetwork`.

    Raises:
        ValueError: an unknown architecture, an unknown option, or an option out of range.
    """
    check_architecture(name, options)
    build = architecture_class(name)
    return build(num_tasks, in_features, out_features, widths, **common, **options)  # type: ignore[call-arg]
