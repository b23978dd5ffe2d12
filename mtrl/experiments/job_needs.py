"""What a job of a sweep needs, and whether its verb would refuse it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mtrl.errors import ConfigError
from mtrl.jobs.compose import check_machine
from mtrl.jobs.config import SINGLE_TASK, SupervisedConfig, TrainConfig


@dataclass(frozen=True)
class Needs:
    """What a job needs.

    Attributes:
        cpus: that it keeps busy.
        counter: of `status.json` that says how far the run is.
        total: value of the counter at the end of the run.
    """

    cpus: int
    counter: str
    total: int

    def share_done(self, status: Mapping[str, Any]) -> float:
        """The share of a run that is done, 0 to 1, from the content of its `status.json`."""
        if status["state"] == "done":
            return 1.0
        return min(1.0, status.get(self.counter, 0) / max(1, self.total))


def examine(config: TrainConfig | SupervisedConfig) -> Needs:
    """Check a configuration as its verb does before it starts, and say what its run needs.

    Raises:
        ConfigError: methods, tasks, the problem or the device are wrong, or it asks for several runs.
        ResourceError: this machine cannot run its workers.
    """
    from mtrl.jobs.checks import refusals

    with refusals():
        if isinstance(config, TrainConfig):
            return _examine_training(config)
        return _examine_supervised(config)


def _examine_training(config: TrainConfig) -> Needs:
    from mtrl.jobs.rl_checks import check_training

    check_machine(config)
    check_training(config)
    collect = config.collect
    cpus = 1 if collect.collector == "local" else collect.num_workers + 1
    return Needs(cpus, "env_steps", config.schedule.total_env_steps)


def _examine_supervised(config: SupervisedConfig) -> Needs:
    from mtrl.jobs.grid import expand
    from mtrl.jobs.supervised import length

    if config.grid:
        raise ConfigError(
            "The configuration has a `grid` of its own. Name its keys with `--grid KEY=[...]`, or"
            " train it with `mtrl supervised`."
        )
    if config.method == SINGLE_TASK:
        raise ConfigError(
            "A job of a sweep is one run, and `stl` makes a run of each task. Use"
            " `mtrl supervised method=stl`."
        )
    expand(config)
    counter, total = length(config)
    return Needs(1, counter, total)
