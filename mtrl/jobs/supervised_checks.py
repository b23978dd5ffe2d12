"""What `mtrl supervised` refuses before any run starts."""

from __future__ import annotations

from mtrl.balancing import method_class
from mtrl.errors import suggest
from mtrl.jobs.checks import check_method, with_weights
from mtrl.jobs.config import ALL, SINGLE_TASK, SupervisedConfig
from mtrl.runs.device import check_device
from mtrl.supervised.baselines import read_baseline
from mtrl.supervised.problem import BaseProblem, Problem

WEIGHTS_KEY = "balance/weight"
"""The weights in the log of a run that `method_options.log` means."""


def check_supervised(config: SupervisedConfig, problem: BaseProblem) -> None:
    """What method, task and device say about `mtrl supervised` on a problem.

    Raises:
        ValueError: something in it is wrong; the message says what and what to do.
    """
    check_device(config.device)
    names = [task.name for task in problem.tasks]
    if config.baseline:
        read_baseline(config.baseline, config.problem, problem)
    if config.method == SINGLE_TASK:
        _check_single_task(config, problem)
    elif config.task != ALL:
        raise ValueError("`task` goes with `method=stl`. Drop it, or train single tasks.")
    elif config.method != ALL:
        config = with_weights(config, names, WEIGHTS_KEY)
        check_method(config)
        options = {k: v for k, v in config.method_options.items() if k != "pi"}
        method_class(config.method)(len(names), 1, **options)
    elif config.method_options:
        raise ValueError("`method_options` belong to one method. Drop them, or name a method.")


def _check_single_task(config: SupervisedConfig, problem: BaseProblem) -> None:
    if not isinstance(problem, Problem):
        raise ValueError(
            "`method=stl` needs a problem that is trained on data. The minima of a toy's losses"
            " are known. Name a method."
        )
    if config.method_options:
        raise ValueError("`method=stl` trains one task at a time and has no options. Drop them.")
    names = [task.name for task in problem.tasks]
    if config.task != ALL and config.task not in names:
        raise ValueError(
            f"`task` should be one of {', '.join(names)}, or all. Found {config.task!r}."
            f"{suggest(config.task, names)}"
        )
