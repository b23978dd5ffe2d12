"""Descends from all start points of a toy at once: copies of a method, each with a state of its own.

The trainer of the other benchmarks takes a batch, a model and a log record per step and copy, which
costs many times what two numbers need; the papers' toys take 50,000 steps from five starts.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mtrl.balancing import Performance, Signals, build, method_class
from mtrl.balancing.base import GRADIENTS, Needs, Weighting
from mtrl.balancing.diagnostics import update_diagnostics
from mtrl.runs import checkpoint
from mtrl.runs.directory import RunDirectory
from mtrl.runs.interrupt import Interrupt
from mtrl.runs.metric_log import MetricLog
from mtrl.runs.nan_guard import TrainingError
from mtrl.runs.progress import Column, Progress, View
from mtrl.runs.saving import Saving
from mtrl.supervised.config import SupervisedConfig
from mtrl.supervised.epoch_trainer import Outcome
from mtrl.supervised.problem import Recipe
from mtrl.supervised.problems.toy import Toy
from mtrl.supervised.task_metrics import drops, summary

_SHOW_EVERY = 100  # steps
_HEARTBEAT_S = 5.0


class Descent:
    """A method that descends a toy surface from several starts, with Adam.

    All starts take a step together: one evaluation of the surface, one step of an optimiser whose
    arithmetic is element-wise. The method is asked for each start by itself. That its rows are finite,
    which a trainer finds out for each step of each method, is found out once for all starts.

    Args:
        problem: the surface and its starts, S of them.
        method, options: the balancing method.
        recipe: learning rate, betas and weight decay of Adam.
        max_norm: bound on the norm of a method's direction; None is none. Loss weightings are never
            bounded: see `Toy`.
        seed: of every copy of the method.

    Attributes:
        points: `[S, 2]`, where the starts have come to.
        updates: steps done.
    """

    def __init__(
        self,
        problem: Toy,
        method: str,
        options: Mapping[str, object],
        recipe: Recipe,
        *,
        max_norm: float | None = None,
        seed: int = 0,
    ) -> None:
        self.problem, self.updates = problem, 0
        self.points = nn.Parameter(torch.tensor(problem.starts, dtype=torch.float64))
        self.methods = [build(method, 2, 2, seed=seed, **options) for _ in problem.starts]
        self.optimizer = torch.optim.Adam(
            [self.points],
            recipe.learning_rate,
            betas=recipe.betas,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        needs = self.methods[0].needs
        self.max_norm = max_norm if needs & GRADIENTS else None
        self._looks_back = Needs.LOSSES_AFTER in needs
        self._informed = Needs.PERFORMANCE in needs
        self._minima = torch.tensor(problem.minima, dtype=torch.float64)
        self._shift = torch.zeros(2, dtype=torch.float64)
        if method_class(method).positive_losses:
            self._shift -= torch.tensor(problem.lower_bounds, dtype=torch.float64)

    @torch.no_grad()
    def step(self) -> tuple[Tensor, Tensor]:
        """One step of every start.

        Returns:
            The task gradients before the step, `[S, tasks, 2]`, and the directions, `[S, 2]`.

        Raises:
            TrainingError: a loss is not finite.
        """
        losses, rows = self.problem.differentiate(self.points.detach())
        if not math.isfinite(losses.sum().item() + rows.sum().item()):
            raise TrainingError(
                f"A loss or gradient is not finite after {self.updates} steps. Lower"
                " `recipe.learning_rate`, or set `balancing.max_grad_norm`, and start anew."
            )
        # As `TaskGradients.gramian`, for all starts in one product.
        gramians = torch.bmm(rows, rows.mT)
        gramians = (gramians + gramians.mT) / 2
        performance = 1.0 - (losses - self._minima) / self._minima.abs()
        shifted = losses + self._shift
        weights, directions = [], []
        for i, method in enumerate(self.methods):
            if self._looks_back and self.updates:
                method.observe_after(shifted[i])  # what the last step led to
            signals = Signals(
                losses=shifted[i],
                jacobian=rows[i],
                gramian=gramians[i],
                performance=Performance(performance[i]) if self._informed else None,
            )
            if isinstance(method, Weighting):
                method.metrics["weights"] = method.task_weights(signals)
                weights.append(method.metrics["weights"])
            else:
                directions.append(method.direction(signals))
        if weights:
            direction = torch.bmm(torch.stack(weights).to(rows)[:, None], rows)[:, 0]
        else:
            direction = torch.stack(directions).to(rows)
        if self.max_norm is not None:
            length = torch.linalg.vector_norm(direction, dim=1, keepdim=True)
            direction = direction * (self.max_norm / (length + 1e-6)).clamp_max(1.0)
        self.points.grad = direction
        self.optimizer.step()
        self.updates += 1
        return rows, direction

    def losses(self) -> Tensor:
        """Both losses where the points are, `[S, tasks]`."""
        return self.problem.losses(self.points.detach())

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "points": self.points.detach(),
            "optimizer": self.optimizer.state_dict(),
            "methods": [method.state_dict() for method in self.methods],
            "updates": self.updates,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict`; strict."""
        with torch.no_grad():
            self.points.copy_(state["points"])
        self.optimizer.load_state_dict(state["optimizer"])
        for method, saved in zip(self.methods, state["methods"], strict=True):
            method.load_state_dict(saved)
        self.updates = state["updates"]


def descend(
    problem: Toy,
    config: SupervisedConfig,
    recipe: Recipe,
    run: RunDirectory,
    view: View,
    interrupt: Interrupt,
    *,
    state: Mapping[str, Any] | None = None,
) -> Outcome:
    """Train one method on a toy to its end or to an interruption; an epoch is one step.

    Every `run.record_interval_updates` steps, and after the last, `metrics.jsonl` gets the points,
    the losses there, and what the method did in that step.

    Args:
        problem: the toy.
        config: method, bound, seed and intervals.
        recipe: steps (`epochs`), learning rate, betas.
        run, view, interrupt: of the run.
        state: of the checkpoint to resume from.

    Raises:
        TrainingError: a loss is not finite.
    """
    descent = Descent(
        problem,
        config.method,
        config.method_options,
        recipe,
        max_norm=config.balancing.max_grad_norm or None,
        seed=config.seed,
    )
    log = MetricLog(
        run.path,
        [task.name for task in problem.tasks],
        tensorboard=config.run.tensorboard,
        purge_step=state["descent"]["updates"] if state else None,
        clock="updates",
    )
    start = time.perf_counter()
    if state is not None:
        descent.load_state_dict(state["descent"])
        log.load_state_dict(state["log"])
        start -= state["wall_s"]
    saving = Saving(config.run.checkpoint_interval_s)
    steps, record_every = recipe.epochs, config.run.record_interval_updates
    beat = 0.0

    def save() -> None:
        content = {
            "descent": descent.state_dict(),
            "log": log.state_dict(),
            "wall_s": time.perf_counter() - start,
        }
        keep = config.run.keep_checkpoints
        checkpoint.save(run.checkpoints, descent.updates, content, keep=keep)
        saving.saved()

    with contextlib.closing(log):
        while descent.updates < steps and interrupt.signal is None:
            rows, directions = descent.step()
            done = descent.updates
            if done == steps or (record_every and done % record_every == 0):
                log.write({"updates": done}, _record(descent, rows, directions))
            due = saving.overdue or done % config.run.checkpoint_interval_epochs == 0
            if due and done < steps:
                save()
            if done % _SHOW_EVERY == 0:
                now = time.perf_counter()
                view.update(_progress(problem, config, descent, run.path.name, steps, now - start))
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
    """Of every start: where it is, its losses, and what the method did in the step before."""
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


def _progress(
    problem: Toy, config: SupervisedConfig, descent: Descent, title: str, steps: int, seconds: float
) -> Progress:
    done = descent.updates / steps
    losses = descent.losses().mean(0).tolist()  # over the starts
    return Progress(
        title=title,
        done=done,
        seconds=seconds,
        seconds_left=seconds * (1.0 - done) / done,
        tasks=[task.name for task in problem.tasks],
        columns=[Column("loss", losses, ".3f")],
        facts={"updates": f"{descent.updates:,}", "method": config.method},
    )


def _finish(
    problem: Toy, descent: Descent, run: RunDirectory, view: View, wall_s: float
) -> dict[str, Any]:
    """`end_points.json`, the pictures, and `eval/final.json`, whose content it returns."""
    from mtrl.supervised.problems.toy_plots import draw_run

    points, losses = descent.points.tolist(), descent.losses().tolist()
    ends = [
        {"start": start, "theta": point, "losses": loss}
        for start, point, loss in zip(problem.starts, points, losses, strict=True)
    ]
    files = [run.write_json("end_points.json", ends), *draw_run(problem, run.path)]
    names = [task.name for task in problem.tasks]
    assert problem.baseline is not None, "a toy's is the least of each loss"
    tests = []
    assert problem.baseline is not None
    for loss in losses:
        metrics = [{"value": value} for value in loss]
        behind = drops(problem.tasks, metrics, problem.baseline)
        tests.append(
            {
                "losses": dict(zip(names, loss, strict=True)),
                "metrics": dict(zip(names, metrics, strict=True)),
                "drops": dict(zip(names, behind, strict=True)),
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
