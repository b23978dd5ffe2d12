"""Task weights that an earlier run learned, read from its log."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtrl.runs.metric_log import read_jsonl


def read_learned_weights(
    options: Mapping[str, Any], tasks: Sequence[str], key: str
) -> dict[str, Any]:
    """A method's options, with `log` replaced by the `weights` that it holds.

    The options `log`, `key` and `decay` are taken out: `log` is the `metrics.jsonl` of another run,
    `key` the name of the weights there (`key/<task>` for each task), and `decay` (0.9) that of
    :func:`smoothed_weights`. Without `log` the options come back as they are.

    Args:
        options: of a method that takes `weights`.
        tasks: names, in the order of the weights.
        key: what `key` is by default.

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
    """The last exponential mean of the weights in a run's log, one for each task.

    Args:
        log: a `metrics.jsonl`; each record is a mean over its interval.
        tasks: names, in the order of the result.
        key: `key/<task>` holds the weight of a task.
        decay: of the mean.

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
