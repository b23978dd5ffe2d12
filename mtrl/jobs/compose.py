"""From a verb's arguments to its configuration. Nothing here imports torch or Ray."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mtrl.config import Resolved, closest_key, fits, resolve
from mtrl.distributed import cluster
from mtrl.errors import ConfigError
from mtrl.jobs.config import SupervisedConfig, TrainConfig

SCHEMAS: dict[str, type[Any]] = {"train": TrainConfig, "supervised": SupervisedConfig}


def compose(verb: str, files: Sequence[str | Path], overrides: Sequence[str] = ()) -> Resolved[Any]:
    """The configuration of a verb.

    Args:
        verb: a key of :data:`SCHEMAS`.
        files: paths or presets, laid over one another.
        overrides: `key=value`.

    Raises:
        ConfigError: something in it is wrong, or a file belongs to the other verb.
    """
    try:
        return resolve(SCHEMAS[verb], files, overrides)
    except ConfigError as error:
        (other,) = SCHEMAS.keys() - {verb}
        for file in files:
            if not fits(SCHEMAS[verb], file) and fits(SCHEMAS[other], file):
                raise ConfigError(
                    f"{file} belongs to `mtrl {other}`, and this is a configuration of `mtrl {verb}`."
                    f" Use `mtrl {other}`, or name another file."
                ) from error
        raise


def find_key(verb: str, name: str) -> str | None:
    """The key of a verb's configuration that a name means, or None."""
    return closest_key(SCHEMAS[verb], name)


def check_machine(config: TrainConfig) -> None:
    """Raise `ResourceError` where it is known, before Ray starts, that Ray cannot run the workers."""
    if config.collect.collector == "ray":
        cluster.check_machine(config.ray, config.collect.num_workers)
