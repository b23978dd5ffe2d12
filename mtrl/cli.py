"""The `mtrl` command: the only place that parses arguments. Verbs import what they need.

stdout carries results, stderr progress and errors. Exit codes: 0 done, 1 the run failed, 2 usage or
configuration, 3 the environment (Ray, GPU, versions), 4 a comparison found a difference,
75 interrupted with a checkpoint.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

OK, FAILED, USAGE, ENVIRONMENT, COMPARISON, INTERRUPTED = 0, 1, 2, 3, 4, 75


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = _parser().parse_args(arguments)
    if options.run is None:
        _parser().print_help()
        return USAGE
    return _guarded(options.run, options)


def _parser() -> argparse.ArgumentParser:
    from mtrl import __version__

    parser = argparse.ArgumentParser(
        prog="mtrl",
        description="Multi-task reinforcement learning with balanced task gradients.",
    )
    parser.add_argument("--version", action="version", version=f"mtrl {__version__}")
    parser.set_defaults(run=None)
    verbs = parser.add_subparsers(title="verbs", metavar="VERB")

    train = verbs.add_parser("train", help="train a policy, or resume a run")
    _add_config_arguments(train)
    train.add_argument("--resume", metavar="RUN", help="go on with an interrupted run")
    train.add_argument("--init-from", metavar="RUN", help="start from another run's networks")
    train.set_defaults(run=_train)

    supervised = verbs.add_parser("supervised", help="train on a supervised benchmark")
    _add_config_arguments(supervised)
    supervised.add_argument("--resume", metavar="RUN", help="go on with an interrupted run")
    supervised.set_defaults(run=_supervised)

    evaluate = verbs.add_parser("eval", help="evaluate a run's policy on every goal of every task")
    evaluate.add_argument("path", metavar="RUN")
    evaluate.add_argument("--json", action="store_true", help="print one JSON object")
    evaluate.set_defaults(run=_eval)

    runs = verbs.add_parser("runs", help="list runs with their state")
    runs.add_argument("directory", nargs="?", default="runs")
    runs.add_argument("--json", action="store_true", help="print a JSON list")
    runs.set_defaults(run=_runs)

    methods = verbs.add_parser("methods", help="list the balancing methods")
    methods.add_argument("--json", action="store_true", help="print a JSON list")
    methods.set_defaults(run=_methods)

    config = verbs.add_parser("config", help="work with configurations")
    config_verbs = config.add_subparsers(title="verbs", metavar="VERB", required=True)
    show = config_verbs.add_parser("show", help="the resolved values and where each came from")
    _add_config_arguments(show)
    show.add_argument("--supervised", action="store_true", help="of `mtrl supervised`")
    show.add_argument("--json", action="store_true", help="print one JSON object")
    show.set_defaults(run=_config_show)

    verify = verbs.add_parser(
        "verify-env", help="compare the fast environments with the library's, bit by bit"
    )
    verify.add_argument("--tasks", default="mt10", help="mt10, mt25, mt50 or one task name")
    verify.add_argument("--steps", type=int, default=2000, help="steps per task")
    verify.set_defaults(run=_verify_env)

    doctor = verbs.add_parser("doctor", help="check this machine and say how to repair it")
    doctor.set_defaults(run=_doctor)
    return parser


def _add_config_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c",
        "--config",
        action="append",
        default=[],
        metavar="FILE",
        help="config file or preset (mt10/quick); several are laid over one another",
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="sac.batch_size=64")


def _guarded(verb: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Run a verb; known failures become one clear message and an exit code."""
    try:
        return verb(options)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader, `head` for instance, has what it wanted
        sys.stdout = None
        return OK
    except Exception as error:
        code = _exit_code(error)
        if code is None:
            raise
        print(f"error: {error}", file=sys.stderr)
        return code


def _exit_code(error: Exception) -> int | None:
    # By name, so that a verb that needs neither torch nor Ray does not import them to fail.
    codes = {
        "ConfigError": USAGE,
        "RunDirectoryError": USAGE,
        "CheckpointError": FAILED,
        "DataError": USAGE,
        "TrainingError": FAILED,
        "WorkersFailedError": FAILED,
        "ResourceError": ENVIRONMENT,
    }
    return codes.get(type(error).__name__)


def _train(options: argparse.Namespace) -> int:
    from mtrl.balancing import arm_name
    from mtrl.config import ConfigError, resolve
    from mtrl.distributed import launch
    from mtrl.distributed.config import TrainConfig
    from mtrl.runs import checkpoint
    from mtrl.runs.directory import RunDirectory
    from mtrl.runs.session import training_session

    state = initial = None
    if options.resume:
        if options.config or options.overrides or options.init_from:
            raise ConfigError(
                "`--resume` goes on with the run's own configuration. Drop the other arguments, or"
                " start a new run with `--init-from`."
            )
        run = RunDirectory.open(launch.run_path(options.resume))
        resolved = resolve(TrainConfig, [run.path / "config.yaml"])
        run.acquire()
        path, state = checkpoint.load_latest(run.checkpoints)
        print(f"Resuming {run.path} from {path.name}.", file=sys.stderr)
    else:
        resolved = resolve(TrainConfig, options.config, options.overrides)
        _refusing(launch.check, resolved.config)
        if options.init_from:
            source = RunDirectory.open(launch.run_path(options.init_from))
            _, initial = checkpoint.load_latest(source.checkpoints)
            _refusing(launch.check_initial, resolved.config, initial)
        config = resolved.config
        arm = arm_name(config.method, config.method_options)
        base, name = Path(config.run.directory), f"{config.run.name}-{arm}"
        run = RunDirectory.create(base, name, config.seed, resolved.to_yaml())
    config = resolved.config

    with training_session(run) as (view, interrupt):
        outcome, tasks = launch.train(config, run, view, interrupt, state=state, initial=initial)
    run.write_status(outcome.state, **outcome.counters)
    if outcome.state == "interrupted":
        print(
            f"Interrupted with a checkpoint. Go on with: mtrl train --resume {run.path}",
            file=sys.stderr,
        )
        return INTERRUPTED
    _print_outcome(run.path, tasks.names, outcome.evaluation)
    return OK


def _supervised(options: argparse.Namespace) -> int:
    from mtrl.config import ConfigError, flatten, resolve
    from mtrl.report.benchmark import ranking
    from mtrl.runs.directory import RunDirectory
    from mtrl.runs.guard import TrainingError
    from mtrl.supervised import launch
    from mtrl.supervised.config import SupervisedConfig

    if options.resume:
        return _resume_supervised(options)
    resolved = resolve(SupervisedConfig, options.config, options.overrides)
    plan = []
    try:
        for values in launch.grid_points(dict(flatten(resolved.config.grid))):
            changes = [f"{key}={json.dumps(value)}" for key, value in values.items()]
            point = resolve(SupervisedConfig, options.config, [*options.overrides, *changes])
            plan.append((" ".join(changes), point, launch.expand(point.config)))
    except ValueError as error:
        raise ConfigError(str(error)) from error

    results, failed = {}, 0
    for label, point, jobs in plan:
        outcomes, runs = {}, {}
        for job in jobs:
            base, content = Path(job.run.directory), point.of(job).to_yaml()
            run = RunDirectory.create(base, launch.run_name(job), job.seed, content)
            try:
                outcome, number = _train_supervised(job, run)
            except TrainingError as error:  # the others go on
                print(f"error: {run.path}: {error}", file=sys.stderr)
                failed += 1
                continue
            if outcome.state == "interrupted":
                return INTERRUPTED
            name = job.task if job.method == launch.SINGLE_TASK else job.method
            outcomes[name], runs[name] = outcome, run.path
            results[f"{name} {label}".strip()] = outcome.result
            if number is not None:  # it came when the run was as good as done
                return 128 + number
        for line in launch.conclude(point.config, outcomes, runs) if runs else []:
            print(line)
    if len(results) > 1:
        print(ranking(results))
    return FAILED if failed else OK


def _resume_supervised(options: argparse.Namespace) -> int:
    from mtrl.config import ConfigError, resolve
    from mtrl.runs import checkpoint
    from mtrl.runs.directory import RunDirectory
    from mtrl.supervised import launch
    from mtrl.supervised.config import SupervisedConfig

    if options.config or options.overrides:
        raise ConfigError("`--resume` goes on with the run's own configuration. Drop the others.")
    run = RunDirectory.open(Path(options.resume))
    config = resolve(SupervisedConfig, [run.path / "config.yaml"]).config
    run.acquire()
    path, state = checkpoint.load_latest(run.checkpoints)
    print(f"Resuming {run.path} from {path.name}.", file=sys.stderr)
    outcome, _ = _train_supervised(config, run, state)
    if outcome.state == "interrupted":
        return INTERRUPTED
    if config.method == launch.SINGLE_TASK:
        print(*launch.conclude(config, {config.task: outcome}, {config.task: run.path}), sep="\n")
    return OK


def _train_supervised(
    config: Any, run: Any, state: dict[str, Any] | None = None
) -> tuple[Any, int | None]:
    from mtrl.report.benchmark import result_table
    from mtrl.runs.session import training_session
    from mtrl.supervised import launch

    with training_session(run) as (view, interrupt):
        outcome = launch.train(config, run, view, interrupt, state=state)
    run.write_status(outcome.state, **outcome.counters)
    run.release()
    if outcome.state == "interrupted":
        print(
            f"Interrupted with a checkpoint. Go on with: mtrl supervised --resume {run.path}",
            file=sys.stderr,
        )
    else:
        print(result_table(outcome.result))
        print(f"run: {run.path}")
    return outcome, interrupt.signal


def _refusing(check: Callable[..., None], *arguments: Any) -> None:
    """A check's `ValueError` is an error of configuration."""
    from mtrl.config import ConfigError

    try:
        check(*arguments)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _print_outcome(path: Path, names: list[str], evaluation: Any) -> None:
    from mtrl.report.curves import curves, table

    if evaluation is not None:
        print(table(names, evaluation.success_rate))
        print(
            f"mean success rate: {evaluation.mean_success_rate:.3f}"
            f" ({len(evaluation.goals)} goals per task, last checkpoint)"
        )
    picture = curves(path)
    if picture is not None:
        print(f"curves: {picture}")
    print(f"run: {path}")


def _eval(options: argparse.Namespace) -> int:
    from mtrl.config import resolve
    from mtrl.distributed import launch
    from mtrl.distributed.config import TrainConfig
    from mtrl.report.curves import table
    from mtrl.runs import checkpoint
    from mtrl.runs.directory import RunDirectory
    from mtrl.runs.interrupt import Interrupt

    run = RunDirectory.open(launch.run_path(options.path))
    config = resolve(TrainConfig, [run.path / "config.yaml"]).config
    path, state = checkpoint.load_latest(run.checkpoints)
    with Interrupt() as interrupt:
        evaluation, tasks = launch.evaluate_run(config, state, interrupt)
        if interrupt.signal is not None:
            return 128 + interrupt.signal
    content = evaluation.to_json(tasks.names) | {"checkpoint": path.name, "run": str(run.path)}
    if options.json:
        print(json.dumps(content))
    else:
        print(table(tasks.names, evaluation.success_rate))
        print(
            f"mean success rate: {evaluation.mean_success_rate:.3f}"
            f" ({len(evaluation.goals)} goals per task, {path.name})"
        )
    return OK


def _runs(options: argparse.Namespace) -> int:
    from mtrl.report.runs import describe
    from mtrl.runs.directory import RunDirectoryError, list_runs

    base = Path(options.directory)
    if not base.is_dir():
        raise RunDirectoryError(f"No folder {base}. Train first, or name the folder of runs.")
    rows = [describe(run) for run in list_runs(base)]
    if options.json:
        print(json.dumps(rows))
        return OK
    for row in rows:
        unit = "updates" if row["env_steps"] is None else "env_steps"
        known = [
            f"{name} {row[name]:.3f}" for name in ("success", "delta_m") if row[name] is not None
        ]
        print(
            f"{row['name']:44} {row['state']:12} {row[unit] or 0:>12,} {unit:9} {' '.join(known)}"
        )
    return OK


def _methods(options: argparse.Namespace) -> int:
    from mtrl.report.methods import describe_methods, method_text

    rows = describe_methods()
    print(json.dumps(rows) if options.json else "\n".join(method_text(row) for row in rows))
    return OK


def _config_show(options: argparse.Namespace) -> int:
    from mtrl.config import flatten, resolve
    from mtrl.distributed.config import TrainConfig
    from mtrl.supervised.config import SupervisedConfig

    schema = SupervisedConfig if options.supervised else TrainConfig
    resolved = resolve(schema, options.config, options.overrides)
    rows = flatten(resolved.values)
    if options.json:
        print(json.dumps({k: {"value": v, "origin": resolved.origins[k]} for k, v in rows}))
        return OK
    for key, value in rows:
        print(f"{key:40} {json.dumps(value):32} {resolved.origins[key]}")
    return OK


def _verify_env(options: argparse.Namespace) -> int:
    from mtrl.config import ConfigError
    from mtrl.envs import task_names
    from mtrl.envs.verify import verify

    try:
        names = task_names(options.tasks)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if options.steps < 1:
        raise ConfigError(f"`--steps` should be at least 1. Found {options.steps}.")
    report = verify(names, options.steps)
    print(report)
    return OK if report.identical else COMPARISON


def _doctor(options: argparse.Namespace) -> int:
    del options
    from mtrl.doctor import examine

    findings = examine()
    for finding in findings:
        mark = {"ok": "ok  ", "warning": "warn", "error": "FAIL"}[finding.level]
        print(f"{mark}  {finding.subject}: {finding.text}")
        if finding.repair:
            print(f"      repair: {finding.repair}")
    return ENVIRONMENT if any(finding.level == "error" for finding in findings) else OK
