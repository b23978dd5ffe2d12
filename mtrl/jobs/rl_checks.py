"""What `mtrl train` refuses before any worker starts."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from mtrl.balancing import reads_performance
from mtrl.envs import task_names
from mtrl.jobs.checks import check_method, with_weights
from mtrl.jobs.config import TrainConfig
from mtrl.networks import check_architecture
from mtrl.rl.baseline import read_baseline
from mtrl.rl.learning.builders import actor_method
from mtrl.runs.device import check_device, check_precision, pick_device

WEIGHTS_KEY = "balance/weight/critic"
"""The weights in the log of a run that `method_options.log` means."""


def check_training(config: TrainConfig) -> None:
    """What methods, tasks and device say about `mtrl train`.

    Raises:
        ValueError: something in it cannot be had; the message names object, expectation,
            finding and remedy.
    """
    config = with_weights(config, task_names(config.env.tasks), WEIGHTS_KEY)
    check_method(config)
    actor_method(config.method, config.method_options, config.balancing)
    check_architecture(config.networks.architecture, config.networks.architecture_options)
    _check_performance(config)
    check_device(config.device)
    check_precision(config.precision, pick_device(config.device))


def check_initial(config: TrainConfig, initial: dict[str, Any]) -> None:
    """Whether a run can start from the networks in a checkpoint's state.

    Raises:
        ValueError: they are of other tasks or sizes.
    """
    found = initial["policy"]
    if found["tasks"] != task_names(config.env.tasks):
        raise ValueError(
            f"`--init-from` names a run of other tasks: {', '.join(found['tasks'])}. Set `env.tasks`"
            " to them."
        )
    if found["networks"] != dataclasses.asdict(config.networks):
        raise ValueError(
            f"`--init-from` names a run with other networks: {found['networks']}. Set `networks` to"
            " the same."
        )


def _check_performance(config: TrainConfig) -> None:
    """Whether the success rates that a method asks for can ever be known."""
    names, balancing, evaluation = task_names(config.env.tasks), config.balancing, config.evaluation
    if balancing.baseline:
        read_baseline(Path(balancing.baseline), names)
    actor = actor_method(config.method, config.method_options, balancing)
    if not (
        reads_performance(config.method, config.method_options)
        or (actor != config.method and reads_performance(actor, {}))
    ):
        return
    window = balancing.window_env_steps
    if balancing.performance == "evaluation":
        if evaluation.interval_env_steps == 0:
            raise ValueError(
                "`balancing.performance: evaluation` needs periodic evaluations;"
                " `evaluation.interval_env_steps` is 0. Set an interval, or use `training`."
            )
        goals = min(evaluation.goals, config.env.num_goals)
        episodes = goals * -(-window // evaluation.interval_env_steps)
        remedy = "evaluate more goals or more often"
    else:
        round_env_steps = config.collect.round_env_steps(len(names), config.env.horizon)
        episodes = max(window, round_env_steps) // (len(names) * config.env.horizon)
        remedy = "raise `balancing.window_env_steps`"
    if episodes < balancing.min_episodes:
        raise ValueError(
            f"{config.method!r} reads success rates of at least `balancing.min_episodes`"
            f" ({balancing.min_episodes}) episodes per task, and `balancing.window_env_steps` ({window})"
            f" holds {episodes}: every omega would stay 1. Lower `balancing.min_episodes`, or {remedy}."
        )
