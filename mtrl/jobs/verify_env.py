"""What `mtrl verify-env` does."""

from __future__ import annotations

from mtrl.envs.verify import Report, comparable_tasks, verify
from mtrl.errors import ConfigError


def verify_env(tasks: str, steps: int) -> Report:
    """Compare the fast environments with the library's own.

    Args:
        tasks: a suite, or a task's name.
        steps: for each task.

    Raises:
        ConfigError: no such tasks, tasks of one version only, or no steps.
    """
    if steps < 1:
        raise ConfigError(f"`--steps` should be at least 1. Found {steps}.")
    try:
        names = comparable_tasks(tasks)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return verify(names, steps)
