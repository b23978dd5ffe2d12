"""What both kinds of training refuse before any work starts."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import TypeVar

from mtrl.balancing import METHODS, check_options, method_class, method_options
from mtrl.balancing.base import Weighting
from mtrl.errors import ConfigError, MtrlError
from mtrl.jobs.config import SupervisedConfig, TrainConfig
from mtrl.runs.learned_weights import read_learned_weights

Config = TypeVar("Config", TrainConfig, SupervisedConfig)


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Turn the `ValueError` of a check into an error of configuration."""
    try:
        yield
    except MtrlError:
        raise
    except ValueError as error:
        raise ConfigError(str(error)) from error


def with_weights(config: Config, tasks: Sequence[str], key: str) -> Config:
    """The config with `method_options.log`, where a method takes weights, replaced by them.

    Args:
        config: names a method.
        tasks: names, in the order of the weights.
        key: of the weights in a log, unless `method_options.key` names another.

    Raises:
        ValueError: the log holds no weights of these tasks.
    """
    if "weights" not in method_options(config.method):
        return config
    options = read_learned_weights(config.method_options, tasks, key)
    return dataclasses.replace(config, method_options=options)


def check_method(config: TrainConfig | SupervisedConfig) -> None:
    """Whether the method exists, takes its options, and serves the scaling of the heads.

    Args:
        config: with weights in place of `method_options.log`.

    Raises:
        ValueError: it does not.
    """
    check_options(config.method, dict(config.method_options))
    weighs = issubclass(method_class(config.method), Weighting)
    if config.balancing.head_scaling == "weights" and not weighs:
        raise ValueError(
            f"`balancing.head_scaling: weights` needs a method with task weights; {config.method!r}"
            " works on coordinates. Use `auto`."
        )


def all_methods(config: TrainConfig | SupervisedConfig) -> list[str]:
    """The methods that `all` means: those that need no options and serve the scaling of the heads."""
    able = [name for name, method in METHODS.items() if not method.example_options]
    if config.balancing.head_scaling == "weights":
        able = [name for name in able if issubclass(METHODS[name], Weighting)]
    return able
