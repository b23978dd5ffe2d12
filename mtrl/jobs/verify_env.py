"""What `mtrl verify-env` does."""

from __future__ import annotations

import json
import sys

from mtrl.envs.suites import split_tasks
from mtrl.envs.verify import Difference, Report, comparable_tasks
from mtrl.envs.verify_in_processes import record, verify_in_processes
from mtrl.errors import ConfigError
from mtrl.runs.machine import describe_machine


def verify_env(tasks: str, steps: int, processes: int, *, as_json: bool) -> tuple[Report, str]:
    """Compare the fast environments with the library's own.

    Args:
        tasks: a suite, or names of tasks separated by commas.
        steps: for each task.
        processes: that share the tasks.
        as_json: give the text as one JSON object, with the machine.

    Returns:
        The report and its text.

    Raises:
        ConfigError: no such tasks, tasks of one version only, no steps or no processes.
    """
    for option, number in (("steps", steps), ("processes", processes)):
        if number < 1:
            raise ConfigError(f"`--{option}` should be at least 1. Found {number}.")
    try:
        names = comparable_tasks(split_tasks(tasks))
    except ValueError as error:
        raise ConfigError(str(error)) from error
    report = verify_in_processes(names, steps, processes, _say)
    if not as_json:
        return report, str(report)
    command = f"mtrl verify-env --tasks {tasks} --steps {steps} --processes {processes} --json"
    return report, json.dumps({"machine": describe_machine(command), **record(report)})


def _say(name: str, difference: Difference | None) -> None:
    print(f"{name}: {difference or 'identical'}", file=sys.stderr)
