"""Files of single-task results: `method=stl` writes them, `baseline=[FILE, ...]` reads them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtrl.supervised.config import SupervisedConfig
from mtrl.supervised.epoch_trainer import Baseline, Outcome
from mtrl.supervised.problem import BaseProblem


def write_baseline(
    path: Path,
    config: SupervisedConfig,
    outcomes: Mapping[str, Outcome],
    provenance: Mapping[str, Any],
) -> Path:
    """Keep single-task results for `baseline`: the test metrics of each task's run.

    Args:
        path: the file to write.
        config: configuration of the runs.
        outcomes: task -> outcome of its run.
        provenance: see `RunDirectory.provenance`.
    """
    values: dict[str, dict[str, float]] = {}
    for task, outcome in outcomes.items():
        rows = [test["metrics"][task] for test in outcome.result["test"]]
        values[task] = {name: statistics.fmean(row[name] for row in rows) for name in rows[0]}
    content = {
        "problem": config.problem,
        "options": config.problem_options,
        "seed": config.seed,
        "values": values,
        "manifest": dict(provenance),
    }
    path.write_text(json.dumps(content, indent=1))
    return path


def read_baseline(config: SupervisedConfig, problem: BaseProblem) -> Baseline:
    """Read single-task results; each metric is the mean over the files that have it.

    Raises:
        ValueError: a file is missing or of another problem, or no file has a task or a metric.
    """
    rows = []
    for name in config.baseline:
        try:
            content = json.loads(Path(name).read_text())
            rows.append(content["values"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"`baseline` should name files that `method=stl` wrote. {name}: {error}"
            ) from error
        if content.get("problem") != config.problem:
            raise ValueError(
                f"`baseline` should be of {config.problem!r}. {name} is of {content.get('problem')!r}."
            )
    result: dict[str, dict[str, float]] = {}
    for task in problem.tasks:
        result[task.name] = {}
        for metric in task.metrics:
            found = [
                row[task.name][metric.name] for row in rows if metric.name in row.get(task.name, {})
            ]
            if not found:
                raise ValueError(
                    f"`baseline` has no {metric.name} of {task.name} in"
                    f" {', '.join(config.baseline)}. Train it: method=stl task={task.name}."
                )
            result[task.name][metric.name] = statistics.fmean(found)
    return result
