"""Read the task weights that an earlier run learned from its log."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtrl.runs.metric_log import read_jsonl


def read_learned_weights(
    options: Mapping[str, Any], tasks: Sequence[str], key: str
) -> dict[str, Any]:
    """Replace the option `log` of a method by the `weights` in that log.

    `log` is the `metrics.jsonl` of another run. The weights of a task are under `key/<task>`, and
    `decay` (0.9) is that of :func:`smoothed_weights`. The result has `weights` in place of these three
    options. Without `log` the options do not change.

    Args:
        options: options of a method that takes `weights`.
        tasks: task names, in the order of the weights.
        key: default of the option `key`.

    Raises:
        ValueError: an option is wrong, or the log holds no weights of these tasks.
    """
    if options.get("log") is None:
        return dict(options)
    own = {k: v for k, v in options.items() if k not in ("log", "key", "decay")}
    log, key, decay = options["log"], options.get("key", key), options.get("decay", 0.9)
    if own.get("weights") is not None:
        raise ValueError(
            f"A method takes either `weights` or `log`. Found weights={own['weights']!r},"
            f" log={log!r}. Give one of them."
        )
    if not isinstance(log, str) or not Path(log).is_file():
        raise ValueError(f"`log` should be the metrics.jsonl of a run. Found no file {log!r}.")
    if not isinstance(key, str):
        raise ValueError(f"`key` should be the name of weights in a log. Found {key!r}.")
    if not isinstance(decay, int | float) or not 0 <= decay < 1:
        raise ValueError(f"`decay` should be a number in [0, 1). Found {decay!r}.")
    return {**own, "weights": smoothed_weights(Path(log), tasks, key, decay)}


def smoothed_weights(
    log: Path, tasks: Sequence[str], key: str, decay: float = 0.9
) -> list[float]:
    """The last exponential moving average of the weights in a run's log, one for each task.

    Args:
        log: a `metrics.jsonl`; each record is a mean over its interval.
        tasks: task names, in the order of the result.
        key: `key/<task>` is the weight of a task.
        decay: decay of the moving average.

    Raises:
        ValueError: no record has a finite weight of every task.
    """
    mean: list[float] | None = None
    for record in read_jsonl(log):
        values = [record.get(f"{key}/{task}") for task in tasks]
        found = [float(v) for v in values if isinstance(v, int | float) and math.isfinite(v)]
        if len(found) < len(tasks):
            continue
        if mean is None:
            mean = found
        else:
            mean = [decay * a + (1.0 - decay) * b for a, b in zip(mean, found, strict=True)]
    if mean is None:
        raise ValueError(
            f"`log` should hold weights under `{key}/{tasks[0]}`, and so for each task. Found no"
            f" record with all of them in {log}. Name a run of the same tasks, or another `key`."
        )
    return mean
