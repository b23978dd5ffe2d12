"""The `mtrl` command: its verbs. Each imports what it needs, and torch only once it has work for it.

stdout carries results, stderr progress and errors. Exit codes: 0 done, 1 the run failed, 2 usage or
configuration, 3 the environment (Ray, GPU, versions), 4 a comparison found a difference,
75 interrupted with a checkpoint. An error carries its own (`mtrl.errors.MtrlError`).
"""

from __future__ import annotations

import argparse
import json
import select
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mtrl.arguments import make_parser, parse
from mtrl.errors import COMPARISON, ENVIRONMENT, FAILED, INTERRUPTED, OK, USAGE, MtrlError
from mtrl.extras import missing_extra

if TYPE_CHECKING:
    from mtrl.config import Resolved
    from mtrl.runs.directory import RunDirectory

T = TypeVar("T")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parse(sys.argv[1:] if arguments is None else arguments, _find_key)
    if options.verb is None:
        make_parser().print_help()
        return USAGE
    return _guarded(VERBS[options.verb], options)


def _guarded(verb: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """Run a verb; known failures become one clear message and an exit code."""
    try:
        code = verb(options)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return 130
    except MtrlError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        if not _reader_is_gone():
            raise
        sys.stdout = None
        return OK
    except ImportError as error:
        message = missing_extra(error, options.verb)
        if message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        return ENVIRONMENT


def _reader_is_gone() -> bool:
    """Whether whoever read stdout, `head` for instance, has what it wanted."""
    try:
        watch = select.poll()
        watch.register(sys.stdout.fileno(), 0)  # an end that closed is always reported
        return bool(watch.poll(0))
    except (OSError, ValueError):
        return False


def _schema(verb: str) -> type:
    if verb == "supervised":
        from mtrl.supervised.config import SupervisedConfig

        return SupervisedConfig
    from mtrl.jobs.config import TrainConfig

    return TrainConfig


def _find_key(options: argparse.Namespace, name: str) -> str | None:
    from mtrl.config import closest_key

    return closest_key(_schema(_kind(options)), name)


def _kind(options: argparse.Namespace) -> str:
    """The verb whose configuration is meant."""
    supervised = options.verb == "supervised" or getattr(options, "supervised", False)
    return "supervised" if supervised else "train"


def _resolve(kind: str, files: Sequence[str | Path], overrides: Sequence[str] = ()) -> Resolved:
    """Compose the configuration of `mtrl train` or `mtrl supervised`."""
    from mtrl.config import ConfigError, fits, resolve

    try:
        return resolve(_schema(kind), files, overrides)
    except ConfigError as error:
        other = "train" if kind == "supervised" else "supervised"
        for file in files:
            if not fits(_schema(kind), file) and fits(_schema(other), file):
                raise ConfigError(
                    f"{file} belongs to `mtrl {other}`, and this is a configuration of `mtrl {kind}`."
                    f" Use `mtrl {other}`, or name another file."
                ) from error
        raise


def _resume(options: argparse.Namespace) -> tuple[RunDirectory, Resolved, dict[str, Any]] | None:
    """The run to go on with, locked, its configuration and its state; None if it is done."""
    from mtrl.config import ConfigError
    from mtrl.runs.naming import find_run

    if options.config or options.overrides or getattr(options, "init_from", None):
        new = ", or start a new run with `--init-from`" if options.verb == "train" else ""
        raise ConfigError(
            "`--resume` goes on with the run's own configuration. Drop the other arguments"
            + new
            + "."
        )
    run = find_run(options.resume)
    resolved = _resolve(options.verb, [run.path / "config.yaml"])
    run.acquire()
    if run.status()["state"] == "done":
        run.release()
        print(f"{run.path} is done: nothing is left to train.", file=sys.stderr)
        return None
    from mtrl.runs import checkpoint

    try:
        path, state = checkpoint.load_latest(run.checkpoints, set_aside=True)
    except BaseException:
        run.release()
        raise
    print(f"Resuming {run.path} from {path.name}.", file=sys.stderr)
    return run, resolved, state


def _train(options: argparse.Namespace) -> int:
    from mtrl.distributed import cluster
    from mtrl.jobs.lifecycle import training_session
    from mtrl.runs.directory import RunDirectory
    from mtrl.runs.naming import find_run

    state = initial = None
    if options.resume:
        found = _resume(options)
        if found is None:
            return OK
        run, resolved, state = found
        from mtrl.jobs import rl as launch
    else:
        resolved = _resolve("train", options.config, options.overrides)
        source = find_run(options.init_from) if options.init_from else None
        cluster.check_machine(resolved.config)
        from mtrl.jobs import rl as launch
        from mtrl.runs import checkpoint

        _refusing(launch.check, resolved.config)
        if source is not None:
            _, initial = checkpoint.load_latest(source.checkpoints)
            _refusing(launch.check_initial, resolved.config, initial)
        from mtrl.balancing import arm_name

        config = resolved.config
        arm = arm_name(config.method, config.method_options)
        base, name = Path(config.run.directory), f"{config.run.name}-{arm}"
        run = RunDirectory.create(base, name, config.seed, resolved.to_yaml())
    config = resolved.config

    with training_session(run) as (view, interrupt):
        outcome, tasks = launch.train(config, run, view, interrupt, state=state, initial=initial)
    run.write_status(outcome.state, **outcome.counters)
    run.release()
    if outcome.state == "interrupted":
        print(
            f"Interrupted with a checkpoint. Go on with: mtrl train --resume {run.path}",
            file=sys.stderr,
        )
        return INTERRUPTED
    _print_outcome(run.path, tasks.names, outcome.evaluation)
    return OK


def _supervised(options: argparse.Namespace) -> int:
    from mtrl.config import flatten

    if options.resume:
        return _resume_supervised(options)
    resolved = _resolve("supervised", options.config, options.overrides)
    from mtrl.jobs import supervised as launch
    from mtrl.report.balance import balance_text
    from mtrl.report.supervised_tables import ranking
    from mtrl.runs.directory import RunDirectory
    from mtrl.runs.nan_guard import TrainingError

    plan = []
    for values in _refusing(launch.grid_points, dict(flatten(resolved.config.grid))):
        changes = [f"{key}={json.dumps(value)}" for key, value in values.items()]
        point = _resolve("supervised", options.config, [*options.overrides, *changes])
        label = " ".join(change for change in changes if not change.startswith("method="))
        plan.append((label, point, _refusing(launch.expand, point.config)))

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
        measured = {name: [result["lowest_loss"]] for name, result in results.items()}
        print(*filter(None, [balance_text(measured), ranking(results)]), sep="\n")
    return FAILED if failed else OK


def _resume_supervised(options: argparse.Namespace) -> int:
    found = _resume(options)
    if found is None:
        return OK
    from mtrl.jobs import supervised as launch

    run, resolved, state = found
    config = resolved.config
    outcome, _ = _train_supervised(config, run, state)
    if outcome.state == "interrupted":
        return INTERRUPTED
    if config.method == launch.SINGLE_TASK:
        print(*launch.conclude(config, {config.task: outcome}, {config.task: run.path}), sep="\n")
    return OK


def _train_supervised(
    config: Any, run: Any, state: dict[str, Any] | None = None
) -> tuple[Any, int | None]:
    from mtrl.jobs import supervised as launch
    from mtrl.jobs.lifecycle import training_session
    from mtrl.report.supervised_tables import result_table

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


def _refusing(check: Callable[..., T], *arguments: Any) -> T:
    """What a check returns; its `ValueError` is an error of configuration."""
    from mtrl.config import ConfigError

    try:
        return check(*arguments)
    except MtrlError:
        raise
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
    from mtrl.runs.naming import find_run

    run = find_run(options.path)
    config = _resolve("train", [run.path / "config.yaml"]).config
    from mtrl.jobs import rl as launch
    from mtrl.report.curves import table
    from mtrl.runs import checkpoint
    from mtrl.runs.interrupt import Interrupt

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
    from mtrl.report.run_list import describe, runs_table
    from mtrl.runs.directory import RunDirectoryError, list_runs

    base = Path(options.directory)
    if not base.is_dir():
        raise RunDirectoryError(f"No folder {base}. Train first, or name the folder of runs.")
    rows = [describe(run) for run in list_runs(base)]
    if options.json:
        print(json.dumps(rows))
        return OK
    print(runs_table(rows) if rows else f"No runs in {base}.")
    return OK


def _methods(options: argparse.Namespace) -> int:
    from mtrl.report.method_list import describe_methods, method_text

    rows = describe_methods()
    print(json.dumps(rows) if options.json else "\n".join(method_text(row) for row in rows))
    return OK


def _config_show(options: argparse.Namespace) -> int:
    from mtrl.config import flatten

    resolved = _resolve(_kind(options), options.config, options.overrides)
    rows = flatten(resolved.values)
    if options.json:
        print(json.dumps({k: {"value": v, "origin": resolved.origins[k]} for k, v in rows}))
        return OK
    for key, value in rows:
        print(f"{key:40} {json.dumps(value):32} {resolved.origins[key]}")
    return OK


def _verify_env(options: argparse.Namespace) -> int:
    from mtrl.config import ConfigError
    from mtrl.envs.verify import comparable_tasks, verify

    if options.steps < 1:
        raise ConfigError(f"`--steps` should be at least 1. Found {options.steps}.")
    names = _refusing(comparable_tasks, options.tasks)
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


VERBS = {
    "train": _train,
    "supervised": _supervised,
    "eval": _eval,
    "runs": _runs,
    "methods": _methods,
    "config": _config_show,
    "verify-env": _verify_env,
    "doctor": _doctor,
}
