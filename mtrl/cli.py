"""The `mtrl` command: its verbs. Each imports what it needs, and torch only once it has work for it.

stdout carries results, stderr progress and errors. Exit codes: 0 done, 1 the run failed, 2 usage or
configuration, 3 the environment (Ray, GPU, versions), 4 a comparison found a difference,
75 interrupted with a checkpoint. An error carries its own (`mtrl.errors.MtrlError`).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mtrl import arguments as parsing
from mtrl.arguments import Verb
from mtrl.errors import COMPARISON, ENVIRONMENT, INTERRUPTED, OK, USAGE, ConfigError
from mtrl.failures import guarded

if TYPE_CHECKING:
    from mtrl.jobs.lifecycle import Job


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    options = parsing.parse(words, VERBS, _find_key)
    if options.verb is None:
        parsing.make_parser(VERBS).print_help()
        return USAGE
    return guarded(VERBS[options.verb].run, options)


def _find_key(options: argparse.Namespace, name: str) -> str | None:
    from mtrl.jobs.compose import find_key

    return find_key(_configured(options), name)


def _configured(options: argparse.Namespace) -> str:
    """The verb whose configuration is meant."""
    supervised = options.verb == "supervised" or getattr(options, "supervised", False)
    return "supervised" if supervised else "train"


def _resume(options: argparse.Namespace) -> Job | None:
    from mtrl.jobs.lifecycle import resume

    if options.config or options.overrides or getattr(options, "init_from", None):
        new = ", or start a new run with `--init-from`" if options.verb == "train" else ""
        raise ConfigError(
            f"`--resume` goes on with the run's own configuration. Drop the other arguments{new}."
        )
    return resume(options.verb, options.resume)


def _train(options: argparse.Namespace) -> int:
    if options.resume:
        job = _resume(options)
        if job is None:
            return OK
        from mtrl.jobs import rl
    else:
        from mtrl.jobs.compose import check_machine, compose

        resolved = compose("train", options.config, options.overrides)
        check_machine(resolved.config)
        from mtrl.jobs import rl

        job = rl.new_job(resolved, options.init_from)
    from mtrl.report.curves import end_of_run

    if rl.run_job(job).state == "interrupted":
        return INTERRUPTED
    print(end_of_run(job.run.path))
    return OK


def _supervised(options: argparse.Namespace) -> int:
    if options.resume:
        job = _resume(options)
        if job is None:
            return OK
        from mtrl.jobs import grid
        from mtrl.report.supervised_tables import end_of_run

        return grid.go_on(job, end_of_run, print)
    from mtrl.jobs.compose import compose

    resolved = compose("supervised", options.config, options.overrides)
    from mtrl.jobs import grid
    from mtrl.report.supervised_tables import end_of_run, end_of_runs

    points = grid.plan(resolved, options.config, options.overrides)
    exit_code, results = grid.train(points, end_of_run, print)
    if len(results) > 1:
        print(end_of_runs(results))
    return exit_code


def _sweep(options: argparse.Namespace) -> int:
    from mtrl.experiments.plan import make_plan
    from mtrl.experiments.sweep import sweep

    own = {"methods": options.methods, "seeds": options.seeds, "grid": options.grid}
    plan = make_plan(_configured(options), options.config, options.overrides, **own)
    return sweep(plan, options.directory, options.jobs, print)


def _eval(options: argparse.Namespace) -> int:
    from mtrl.jobs.lifecycle import open_run

    run, config = open_run("train", options.path)
    from mtrl.jobs.evaluate import evaluate_run
    from mtrl.report.curves import success_text

    evaluation, signal = evaluate_run(run, config)
    if signal is not None:
        return 128 + signal
    shown = json.dumps if options.json else lambda e: success_text(e, e["checkpoint"])
    print(shown(evaluation))
    return OK


def _runs(options: argparse.Namespace) -> int:
    from mtrl.report.run_list import describe_runs, runs_table

    rows = describe_runs(Path(options.directory))
    if options.json:
        print(json.dumps(rows))
    else:
        print(runs_table(rows) if rows else f"No runs in {options.directory}.")
    return OK


def _methods(options: argparse.Namespace) -> int:
    from mtrl.report.method_list import describe_methods, method_text

    rows = describe_methods()
    print(json.dumps(rows) if options.json else "\n".join(method_text(row) for row in rows))
    return OK


def _config_show(options: argparse.Namespace) -> int:
    from mtrl.jobs.compose import compose

    resolved = compose(_configured(options), options.config, options.overrides)
    print(resolved.to_json() if options.json else resolved.to_table())
    return OK


def _verify_env(options: argparse.Namespace) -> int:
    from mtrl.jobs.verify_env import verify_env

    report, text = verify_env(options.tasks, options.steps, options.processes, as_json=options.json)
    print(text)
    return OK if report.identical else COMPARISON


def _bench(options: argparse.Namespace) -> int:
    from mtrl.bench.command import run

    run(options.name, options.arguments)
    return OK


def _results(options: argparse.Namespace) -> int:
    from mtrl.result_pages import run

    run(options.action, Path(options.folder), [Path(path) for path in getattr(options, "runs", [])])
    return OK


def _doctor(options: argparse.Namespace) -> int:
    del options
    from mtrl.doctor import examine

    findings = examine()
    print(*findings, sep="\n")
    return ENVIRONMENT if any(finding.level == "error" for finding in findings) else OK


VERBS = {
    "train": Verb("train a policy, or resume a run", parsing.add_train, _train),
    "supervised": Verb("train on a supervised problem", parsing.add_supervised, _supervised),
    "sweep": Verb("train methods x seeds, several runs at a time", parsing.add_sweep, _sweep),
    "eval": Verb("evaluate a run's policy on every goal of every task", parsing.add_eval, _eval),
    "runs": Verb("list runs with their state", parsing.add_runs, _runs),
    "methods": Verb("list the balancing methods", parsing.add_methods, _methods),
    "config": Verb("work with configurations", parsing.add_config, _config_show),
    "verify-env": Verb(
        "compare the fast environments with the library's", parsing.add_verify_env, _verify_env
    ),
    "bench": Verb("measure the speed of a part", parsing.add_bench, _bench),
    "results": Verb("make the pages under results/", parsing.add_results, _results),
    "doctor": Verb("check this machine and say how to repair it", parsing.add_none, _doctor),
}
