"""What `mtrl supervised` does for one run: the problem, its data, the learners, the loop."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from mtrl.balancing import arm_name
from mtrl.config import Resolved
from mtrl.errors import USAGE, MtrlError
from mtrl.jobs.checks import with_weights
from mtrl.jobs.config import ALL, SINGLE_TASK, SupervisedConfig
from mtrl.jobs.lifecycle import Job, carry_out, create
from mtrl.jobs.supervised_checks import WEIGHTS_KEY
from mtrl.runs.device import pick_device
from mtrl.runs.directory import RunDirectory
from mtrl.runs.interrupt import Interrupt
from mtrl.runs.metric_log import MetricLog
from mtrl.runs.progress import View
from mtrl.supervised.baselines import read_baseline, write_baseline
from mtrl.supervised.epoch_telemetry import EpochTelemetry
from mtrl.supervised.epoch_trainer import EpochTrainer, Outcome
from mtrl.supervised.model_learner import ModelLearner
from mtrl.supervised.problem import SPLITS, Problem
from mtrl.supervised.problem_registry import make_problem
from mtrl.supervised.problems.toy.toy_problem import Toy
from mtrl.supervised.problems.toy.toy_training import descend
from mtrl.supervised.single_task import SingleTask
from mtrl.supervised.task_metrics import describe_units


class DataError(MtrlError, ValueError):
    """A problem's data cannot be read."""

    exit_code = USAGE


def new_job(resolved: Resolved[SupervisedConfig]) -> Job:
    """A new run.

    Args:
        resolved: with one of the configurations that `grid.expand` gives.

    Raises:
        RunDirectoryError: no directory can be made.
    """
    config = resolved.config
    name = f"{file_stem(config)}-{arm_name(config.method, config.method_options)}"
    return create("supervised", resolved, name + ("" if config.task == ALL else f"-{config.task}"))


def file_stem(config: SupervisedConfig) -> str:
    """What the names of all files of a configuration begin with."""
    return config.run.name or config.problem.rpartition(":")[2].lower()


def length(config: SupervisedConfig) -> tuple[str, int]:
    """The counter in `status.json` that says how far a run is, and its value at the end."""
    problem = make_problem(config.problem, config.problem_options, config.data_root)
    epochs = config.recipe.apply_to(problem.recipe).epochs
    return "updates" if isinstance(problem, Toy) else "epochs", epochs


def run_job(job: Job) -> tuple[Outcome, int | None]:
    """Train a run to its end or to an interruption: the outcome, and the signal that came."""
    return carry_out(
        job, lambda view, interrupt: train(job.config, job.run, view, interrupt, state=job.state)
    )


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
        config: one of those that `grid.expand` gives.
        run: the locked run directory.
        view: shows progress.
        interrupt: the signals received.
        state: of the checkpoint to resume from.

    Raises:
        DataError: the problem's data or single-task results cannot be read.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    with _data_errors(config):
        problem = make_problem(config.problem, config.problem_options, config.data_root)
    run.write_json("problem.json", describe_units(problem.tasks))
    if config.method != SINGLE_TASK:
        config = with_weights(config, [task.name for task in problem.tasks], WEIGHTS_KEY)
    if isinstance(problem, Toy):
        recipe = config.recipe.apply_to(problem.recipe)
        return descend(
            problem,
            recipe,
            run,
            view,
            interrupt,
            method=config.method,
            options=config.method_options,
            max_norm=config.balancing.max_grad_norm or None,
            config=config.run,
            seed=config.seed,
            state=state,
        )
    assert isinstance(problem, Problem)
    with _data_errors(config):
        baseline = problem.baseline
        if config.baseline:
            baseline = read_baseline(config.baseline, config.problem, problem)
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
            telemetry=EpochTelemetry(run, log, view, copies=len(learners), method=config.method),
            interrupt=interrupt,
            config=config.run,
            seed=config.seed,
        )
        if state is not None:
            trainer.load_state_dict(state)
        return trainer.run()


def conclude(
    config: SupervisedConfig, outcomes: Mapping[str, Outcome], runs: Mapping[str, Path]
) -> list[str]:
    """Keep what several runs leave together: single-task results, or a picture.

    Args:
        config: that the runs come from.
        outcomes: by method, or by single task.
        runs: their directories, by the same names.

    Returns:
        A line about each file that was written.
    """
    base, first = Path(config.run.directory), next(iter(runs.values()))
    end = first.name.rpartition("-s")[2]  # the seed and time of the first run
    if config.method == SINGLE_TASK:
        path = write_baseline(
            base / f"{file_stem(config)}-stl-s{end}.json",
            outcomes,
            problem=config.problem,
            options=config.problem_options,
            seed=config.seed,
            provenance=RunDirectory.open(first).provenance(),
        )
        return [f"single-task results: {path} (use them with baseline=[{path}])"]
    if len(runs) < 2:
        return []
    problem = make_problem(config.problem, config.problem_options, config.data_root)
    picture = problem.finish_all(runs, base / f"{file_stem(config)}-all-s{end}.png")
    return [] if picture is None else [f"picture: {picture}"]


@contextlib.contextmanager
def _data_errors(config: SupervisedConfig) -> Iterator[None]:
    try:
        yield
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"Cannot read the data of {config.problem!r}. {error}") from error
