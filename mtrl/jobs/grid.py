"""Several supervised runs by one command: every point of a grid, every method, every single task."""

from __future__ import annotations

import dataclasses
import itertools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtrl.config import Resolved, flatten
from mtrl.errors import FAILED, INTERRUPTED, OK
from mtrl.jobs import supervised
from mtrl.jobs.checks import all_methods, refusals
from mtrl.jobs.compose import compose
from mtrl.jobs.config import ALL, SINGLE_TASK, SupervisedConfig
from mtrl.jobs.lifecycle import Job
from mtrl.jobs.supervised_checks import check_supervised
from mtrl.runs.nan_guard import TrainingError
from mtrl.supervised.epoch_trainer import Outcome
from mtrl.supervised.problem_registry import make_problem

Describe = Callable[[Mapping[str, Any], Path], str]
"""The text about the result of a run, as in `eval/final.json`, and its directory."""

Say = Callable[[str], None]
"""Prints a line."""


@dataclass(frozen=True)
class Point:
    """One combination of a grid's values.

    Attributes:
        label: the values, without the method.
        resolved: the configuration with them.
        runs: the configurations of the runs that it asks for.
    """

    label: str
    resolved: Resolved[SupervisedConfig]
    runs: list[SupervisedConfig]


def plan(
    resolved: Resolved[SupervisedConfig], files: Sequence[str], overrides: Sequence[str]
) -> list[Point]:
    """All runs that a command asks for, each checked before the first starts.

    Args:
        resolved: the configuration, with its grid.
        files: that it was composed of.
        overrides: laid over them; the grid's values are laid over these.

    Raises:
        ConfigError: the grid or one of its points is wrong.
    """
    points = []
    with refusals():
        for values in grid_points(dict(flatten(resolved.config.grid))):
            changes = as_overrides(values)
            point = compose("supervised", files, [*overrides, *changes])
            label = " ".join(change for change in changes if not change.startswith("method="))
            points.append(Point(label, point, expand(point.config)))
    return points


def grid_points(grid: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every combination of a grid's values; one empty one without a grid.

    Args:
        grid: key -> values. Under `cases` a value sets several keys at once.

    Raises:
        ValueError: an entry is not a list of values, or a case is not a mapping.
    """
    axes: list[list[dict[str, Any]]] = []
    for key, values in grid.items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"`grid.{key}` should be a list of values. Found {values!r}.")
        if key != "cases":
            axes.append([{key: value} for value in values])
            continue
        if not all(isinstance(case, Mapping) and case for case in values):
            raise ValueError(
                "`grid.cases` should be a list of settings, such as {method: rgb}. Found"
                f" {values!r}."
            )
        axes.append(values)
    return [
        {key: value for part in point for key, value in part.items()}
        for point in itertools.product(*axes)
    ]


def as_overrides(point: Mapping[str, Any]) -> list[str]:
    """A combination of a grid's values as `key=value`."""
    return [f"{key}={json.dumps(value)}" for key, value in point.items()]


def expand(config: SupervisedConfig) -> list[SupervisedConfig]:
    """The runs that a configuration asks for: one for each method, or for each single task.

    Raises:
        ValueError: something in it is wrong; the message says what and what to do.
    """
    config = dataclasses.replace(config, grid={})  # each of its points is a run of its own
    problem = make_problem(config.problem, config.problem_options, config.data_root)
    check_supervised(config, problem)
    if config.method == SINGLE_TASK:
        tasks = [task.name for task in problem.tasks] if config.task == ALL else [config.task]
        return [dataclasses.replace(config, task=task) for task in tasks]
    if config.method != ALL:
        return [config]
    return [dataclasses.replace(config, method=name) for name in all_methods(config)]


def train(
    points: Sequence[Point], describe: Describe, say: Say
) -> tuple[int, dict[str, dict[str, Any]]]:
    """Train run after run. One that fails does not stop the others; a signal does.

    Args:
        points: see :func:`plan`.
        describe: makes the text about the result of a run.
        say: prints it, and lines about what the runs of a point leave together.

    Returns:
        The exit code of the command, and the result of each run that was trained to its end, by method
        or task and the grid's values; no results where a signal ended the command.
    """
    results, failed = {}, False
    for point in points:
        outcomes: dict[str, Outcome] = {}
        runs: dict[str, Path] = {}
        for config in point.runs:
            job = supervised.new_job(point.resolved.of(config))
            try:
                outcome, signal = supervised.run_job(job)
            except TrainingError as error:  # the others go on
                print(f"error: {job.run.path}: {error}", file=sys.stderr)
                failed = True
                continue
            if outcome.state == "interrupted":
                return INTERRUPTED, {}
            say(describe(outcome.result, job.run.path))
            if signal is not None:  # it came when the run was as good as done
                return 128 + signal, {}
            name = config.task if config.method == SINGLE_TASK else config.method
            outcomes[name], runs[name] = outcome, job.run.path
            results[f"{name} {point.label}".strip()] = outcome.result
        for line in supervised.conclude(point.resolved.config, outcomes, runs) if runs else []:
            say(line)
    return FAILED if failed else OK, results


def go_on(job: Job, describe: Describe, say: Say) -> int:
    """Train one run on from its checkpoint; returns the exit code. See :func:`train`."""
    outcome, _ = supervised.run_job(job)
    if outcome.state == "interrupted":
        return INTERRUPTED
    say(describe(outcome.result, job.run.path))
    task = job.config.task
    for line in supervised.conclude(job.config, {task: outcome}, {task: job.run.path}):
        say(line)
    return OK
