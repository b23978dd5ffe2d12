"""Puts a supervised run together: the problem, its data, the learners, the loop."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from mtrl.balancing import METHODS, arm_name, check_options, method_class, method_options
from mtrl.balancing.base import Weighting
from mtrl.errors import USAGE, MtrlError, suggest
from mtrl.runs.device import check_device, pick_device
from mtrl.runs.directory import RunDirectory
from mtrl.runs.interrupt import Interrupt
from mtrl.runs.learned_weights import read_learned_weights
from mtrl.runs.metric_log import MetricLog
from mtrl.runs.progress import View
from mtrl.supervised.baselines import read_baseline, write_baseline
from mtrl.supervised.config import SupervisedConfig
from mtrl.supervised.epoch_trainer import EpochTrainer, Outcome
from mtrl.supervised.model_learner import ModelLearner
from mtrl.supervised.problem import SPLITS, Problem
from mtrl.supervised.problem_registry import make_problem
from mtrl.supervised.problems.toy.toy_problem import Toy
from mtrl.supervised.problems.toy.toy_training import descend
from mtrl.supervised.single_task import SingleTask
from mtrl.supervised.task_metrics import describe_units

SINGLE_TASK = "stl"


class DataError(MtrlError, ValueError):
    """A benchmark's data cannot be read."""

    exit_code = USAGE


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


def expand(config: SupervisedConfig) -> list[SupervisedConfig]:
    """The runs that a configuration asks for: one for each method, or for each single task.

    Raises:
        ValueError: something in it is wrong; the message says what and what to do.
    """
    check_device(config.device)
    config = dataclasses.replace(config, grid={})  # each of its points is a run of its own
    problem = make_problem(config)
    names = [task.name for task in problem.tasks]
    if config.baseline:
        read_baseline(config, problem)
    if config.method == SINGLE_TASK:
        if isinstance(problem, Toy):
            raise ValueError(
                "`method=stl` needs a benchmark that is trained on data. The minima of a toy's losses"
                " are known. Name a method."
            )
        if config.method_options:
            raise ValueError(
                "`method=stl` trains one task at a time and has no options. Drop them."
            )
        if config.task != "all" and config.task not in names:
            raise ValueError(
                f"`task` should be one of {', '.join(names)}, or all. Found {config.task!r}."
                f"{suggest(config.task, names)}"
            )
        tasks = names if config.task == "all" else [config.task]
        return [dataclasses.replace(config, task=task) for task in tasks]
    if config.task != "all":
        raise ValueError("`task` goes with `method=stl`. Drop it, or train single tasks.")
    if config.method != "all":
        _check_method(_with_weights(config, names), len(names))
        return [config]
    if config.method_options:
        raise ValueError("`method_options` belong to one method. Drop them, or name a method.")
    # A method that cannot be made without options has no place among all.
    able = [name for name, method in METHODS.items() if not method.example_options]
    if config.balancing.head_scaling == "weights":
        able = [name for name in able if issubclass(METHODS[name], Weighting)]
    return [dataclasses.replace(config, method=name) for name in able]


def run_name(config: SupervisedConfig) -> str:
    """What a run directory's name begins with."""
    name = config.run.name or config.problem.rpartition(":")[2].lower()
    arm = arm_name(config.method, config.method_options)
    return f"{name}-{arm}" + ("" if config.task == "all" else f"-{config.task}")


def train(
    config: SupervisedConfig,
    run: RunDirectory,
    view: View,
    interrupt: Interrupt,
    *,
    state: dict[str, Any] | None = None,
) -> Outcome:
    """Train one run to its end or to an interruption.

    Args:
        config: one of those that :func:`expand` gives.
        run: the locked run directory.
        view: shows progress.
        interrupt: the signals received.
        state: of the checkpoint to resume from.

    Raises:
        DataError: the benchmark's data or single-task results cannot be read.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    with _data_errors(config):
        problem = make_problem(config)
    run.write_json("problem.json", describe_units(problem.tasks))
    config = _with_weights(config, [task.name for task in problem.tasks])
    if isinstance(problem, Toy):
        recipe = config.recipe.apply_to(problem.recipe)
        return descend(problem, config, recipe, run, view, interrupt, state=state)
    assert isinstance(problem, Problem)
    with _data_errors(config):
        baseline = read_baseline(config, problem) if config.baseline else problem.baseline
        data = {split: problem.data(split, config.seed) for split in SPLITS}
    method, options = config.method, config.method_options
    if method == SINGLE_TASK:
        problem = SingleTask(problem, config.task)
        data = {split: problem.one_target(own) for split, own in data.items()}
        baseline, method = None, "ls"  # one task is returned unchanged by every method
    recipe = config.recipe.apply_to(problem.recipe)
    device = pick_device(config.device)
    learners = [
        ModelLearner(
            problem,
            recipe,
            method,
            options,
            config=config.balancing,
            seed=config.seed,
            device=device,
            copy=copy,
        )
        for copy in range(problem.copies)
    ]
    view.message(f"{config.problem} on {device}; balancing: {config.method}.")
    log = MetricLog(
        run.path,
        [task.name for task in problem.tasks],
        tensorboard=config.run.tensorboard,
        purge_step=state["trainer"]["updates"] if state else None,
        clock="updates",
    )
    with contextlib.closing(log):
        trainer = EpochTrainer(
            problem=problem,
            recipe=recipe,
            learners=learners,
            data=data,
            baseline=baseline,
            run=run,
            log=log,
            view=view,
            interrupt=interrupt,
            config=config.run,
            seed=config.seed,
            title=config.method,
        )
        if state is not None:
            trainer.load_state_dict(state)
        return trainer.run()


def conclude(
    config: SupervisedConfig, outcomes: Mapping[str, Outcome], runs: Mapping[str, Path]
) -> list[str]:
    """What several runs leave together: single-task results, a picture. Returns lines about it."""
    base = Path(config.run.directory)
    stem = next(iter(runs.values())).name.rpartition("-s")[2]  # the seed and time of the first run
    name = config.run.name or config.problem.rpartition(":")[2].lower()
    if config.method == SINGLE_TASK:
        made = RunDirectory.open(next(iter(runs.values()))).provenance()
        path = write_baseline(base / f"{name}-stl-s{stem}.json", config, outcomes, made)
        return [f"single-task results: {path} (use them with baseline=[{path}])"]
    if len(runs) < 2:
        return []
    picture = make_problem(config).finish_all(runs, base / f"{name}-all-s{stem}.png")
    return [] if picture is None else [f"picture: {picture}"]


@contextlib.contextmanager
def _data_errors(config: SupervisedConfig) -> Iterator[None]:
    try:
        yield
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"Cannot read the data of {config.problem!r}. {error}") from error


def _with_weights(config: SupervisedConfig, tasks: list[str]) -> SupervisedConfig:
    """The config with `method_options.log`, where a method takes weights, replaced by them."""
    if config.method == SINGLE_TASK or "weights" not in method_options(config.method):
        return config
    options = read_learned_weights(config.method_options, tasks, "balance/weight")
    return dataclasses.replace(config, method_options=options)


def _check_method(config: SupervisedConfig, num_tasks: int) -> None:
    check_options(config.method, dict(config.method_options))
    method = method_class(config.method)
    if config.balancing.head_scaling == "weights" and not issubclass(method, Weighting):
        raise ValueError(
            f"`balancing.head_scaling: weights` needs a method with task weights; {config.method!r}"
            " works on coordinates. Use `auto`."
        )
    method(num_tasks, 1, **{k: v for k, v in config.method_options.items() if k != "pi"})
