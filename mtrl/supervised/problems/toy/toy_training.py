"""Train one method on a toy: steps, log, checkpoints, end points and pictures."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mtrl.balancing.diagnostics import update_diagnostics
from mtrl.runs import checkpoint
from mtrl.runs.directory import RunDirectory
from mtrl.runs.interrupt import Interrupt
from mtrl.runs.metric_log import MetricLog
from mtrl.runs.progress import Column, Progress, View
from mtrl.runs.saving import Saving
from mtrl.supervised.config import RunConfig
from mtrl.supervised.epoch_trainer import Outcome
from mtrl.supervised.problem import Recipe
from mtrl.supervised.problems.toy.descent import Descent
from mtrl.supervised.problems.toy.plots import draw_run
from mtrl.supervised.problems.toy.surface import TASKS
from mtrl.supervised.problems.toy.toy_problem import Toy
from mtrl.supervised.task_metrics import drops, summary

_SHOW_EVERY = 100  # steps
_HEARTBEAT_S = 5.0


def descend(
    problem: Toy,
    recipe: Recipe,
    run: RunDirectory,
    view: View,
    interrupt: Interrupt,
    *,
    method: str,
    options: Mapping[str, Any],
    max_norm: float | None,
    config: RunConfig,
    seed: int,
    state: Mapping[str, Any] | None = None,
) -> Outcome:
    """Train one method on a toy to its end or to an interruption; an epoch is one step.

    Every `run.diagnostics_interval_updates` steps, and after the last, `metrics.jsonl` gets the points,
    their losses, and the method's metrics of that step.

    Args:
        problem: the toy.
        recipe: number of steps (`epochs`), learning rate, betas.
        run: the locked run directory.
        view: shows progress.
        interrupt: the signals received.
        method: name of the balancing method.
        options: options of the method.
        max_norm: see :class:`Descent`.
        config: intervals.
        seed: seed of the method.
        state: content of the checkpoint to resume from.

    Raises:
        TrainingError: a loss is not finite.
    """
    descent = Descent(
        problem.surface,
        method,
        options,
        recipe,
        max_norm=max_norm,
        seed=seed,
    )
    log = MetricLog(
        run.path,
        list(TASKS),
        tensorboard=config.tensorboard,
        clock="updates",
    )
    start = time.perf_counter()
    if state is not None:
        descent.load_state_dict(state["descent"])
        log.load_state_dict(state["log"])
        start -= state["wall_s"]
    saving = Saving(config.checkpoint_interval_s)
    steps, every = recipe.epochs, config.diagnostics_interval_updates
    beat = 0.0

    def save() -> None:
        content = {
            "descent": descent.state_dict(),
            "log": log.state_dict(),
            "wall_s": time.perf_counter() - start,
        }
        keep = config.keep_checkpoints
        checkpoint.save(run.checkpoints, descent.updates, content, keep=keep)
        saving.on_save()

    with contextlib.closing(log):
        while descent.updates < steps and interrupt.signal is None:
            rows, directions = descent.step()
            done = descent.updates
            if done == steps or (every and done % every == 0):
                log.write({"updates": done}, _record(descent, rows, directions))
            due = saving.overdue or done % config.checkpoint_interval_epochs == 0
            if due and done < steps:
                save()
            if done % _SHOW_EVERY == 0:
                now = time.perf_counter()
                view.update(_progress(method, descent, run.path.name, steps, now - start))
                if now - beat > _HEARTBEAT_S:
                    beat = now
                    run.write_status("running", updates=done)
        if descent.updates < steps:
            save()
    counters = {"updates": descent.updates}
    if descent.updates < steps:
        return Outcome("interrupted", counters)
    wall_s = time.perf_counter() - start
    return Outcome("done", counters, _finish(problem, descent, run, view, wall_s))


def _record(descent: Descent, rows: Tensor, directions: Tensor) -> dict[str, Any]:
    """For every start: its point, its losses, and the method's metrics of the last step."""
    values: dict[str, Any] = {}
    points, losses = descent.points.tolist(), descent.losses().tolist()
    for i, method in enumerate(descent.methods):
        start = f"start{i}/"
        values |= {f"{start}x": points[i][0], f"{start}y": points[i][1]}
        values[f"{start}loss"] = losses[i]
        for name, value in method.metrics.items():
            if not isinstance(value, Tensor) or value.dim() == 0:
                values[f"{start}balance/{name}"] = float(value)
            elif value.dim() == 1:
                key = {"weights": "weight"}.get(name, name)
                values[f"{start}balance/{key}"] = value.tolist()
        angles = update_diagnostics(
            rows[i] @ rows[i].T, rows[i] @ directions[i], directions[i].square().sum()
        )["update_angles"]
        values[f"{start}balance/update_angles"] = angles.tolist()
    return values


def _progress(method: str, descent: Descent, title: str, steps: int, seconds: float) -> Progress:
    done = descent.updates / steps
    losses = descent.losses().mean(0).tolist()  # over the starts
    return Progress(
        title=title,
        done=done,
        seconds=seconds,
        seconds_left=seconds * (1.0 - done) / done,
        tasks=list(TASKS),
        columns=[Column("loss", losses, ".3f")],
        facts={"updates": f"{descent.updates:,}", "method": method},
    )


def _finish(
    problem: Toy, descent: Descent, run: RunDirectory, view: View, wall_s: float
) -> dict[str, Any]:
    """Write `end_points.json`, the pictures and `eval/final.json`; return the content of the last."""
    points, losses = descent.points.tolist(), descent.losses().tolist()
    ends = [
        {"start": start, "theta": point, "losses": loss}
        for start, point, loss in zip(problem.surface.starts, points, losses, strict=True)
    ]
    files = [run.write_json("end_points.json", ends), *draw_run(problem.surface, run.path)]
    assert problem.baseline is not None, "a toy's baseline is the minimum of each loss"
    tests = []
    for loss in losses:
        metrics = [{"value": value} for value in loss]
        behind = drops(problem.tasks, metrics, problem.baseline)
        tests.append(
            {
                "losses": dict(zip(TASKS, loss, strict=True)),
                "metrics": dict(zip(TASKS, metrics, strict=True)),
                "drops": dict(zip(TASKS, behind, strict=True)),
                **summary(behind),
            }
        )
    result = {
        "updates": descent.updates,
        "selected_by": "last",
        "selected_epoch": descent.updates,
        "test": tests,
        "wall_s": wall_s,
    }
    run.write_json("eval/final.json", result)
    for file in files:
        view.message(f"Wrote {file}.")
    return result
