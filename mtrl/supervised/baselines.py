"""Files of single-task results: `method=stl` writes them, `baseline=[FILE, ...]` reads them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtrl.supervised.epoch_trainer import Baseline, Outcome
from mtrl.supervised.problem import BaseProblem


def write_baseline(
    path: Path,
    outcomes: Mapping[str, Outcome],
    *,
    problem: str,
    options: Mapping[str, Any],
    seed: int,
    provenance: Mapping[str, Any],
) -> Path:
    """Keep single-task results for `baseline`: the test metrics of each task's run.

    Args:
        path: the file to write.
        outcomes: task -> outcome of its run.
        problem: name of the problem.
        options: options of the problem.
        seed: seed of the runs.
        provenance: see `RunDirectory.provenance`.
    """
    values: dict[str, dict[str, float]] = {}
    for task, outcome in outcomes.items():
        rows = [test["metrics"][task] for test in outcome.result["test"]]
        values[task] = {name: statistics.fmean(row[name] for row in rows) for name in rows[0]}
    content = {
        "problem": problem,
        "options": dict(options),
        "seed": seed,
        "values": values,
        "manifest": dict(provenance),
    }
    path.write_text(json.dumps(content, indent=1))
    return path


def read_baseline(files: Sequence[str], name: str, problem: BaseProblem) -> Baseline:
    """Read single-task results; each metric is the mean over the files that have it.

    Args:
        files: files that :func:`write_baseline` wrote.
        name: name of the problem, which the files should have.
        problem: the problem.

    Raises:
        ValueError: a file is missing or of another problem, or no file has a task or a metric.
    """
    rows = []
    for file in files:
        try:
            content = json.loads(Path(file).read_text())
            rows.append(content["values"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"`baseline` should name files that `method=stl` wrote. {file}: {error}"
            ) from error
        if content.get("problem") != name:
            raise ValueError(
                f"`baseline` should be of {name!r}. {file} is of {content.get('problem')!r}."
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
                    f" {', '.join(files)}. Train it: method=stl task={task.name}."
                )
            result[task.name][metric.name] = statistics.fmean(found)
    return result
