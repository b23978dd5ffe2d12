"""The training loop that every benchmark shares. It names no benchmark and no method."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from mtrl.balancing.diagnostics import ROW_MEASURES
from mtrl.runs import checkpoint
from mtrl.runs.directory import RunDirectory
from mtrl.runs.gramian_log import GramianLog
from mtrl.runs.interrupt import Interrupt
from mtrl.runs.metric_log import MetricLog
from mtrl.runs.nan_guard import NonFiniteGuard, TrainingError
from mtrl.runs.progress import Column, Progress, View
from mtrl.runs.saving import Saving
from mtrl.supervised.config import RunConfig
from mtrl.supervised.model_learner import ModelLearner
from mtrl.supervised.problem import Batch, Data, Problem, Recipe
from mtrl.supervised.task_metrics import Scores, Statistics, drops, summary, task_drops

Baseline = Mapping[str, Mapping[str, float]]
_COUNTERS_S = 5.0  # between two looks at the counters in `status.json`
# What RGB's paper reports of the model at the lowest mean validation loss (and the cosine to the mean).
_AT_LOWEST_LOSS = {
    *ROW_MEASURES, *(f"raw_{name}" for name in ROW_MEASURES), "cos_to_mean_avg", "delta_m",
}  # fmt: skip
_REDRAW_S = 0.5


@dataclass(frozen=True)
class Outcome:
    """How a call of :meth:`EpochTrainer.run` ended; `result` is the content of `eval/final.json`, if
    it came to that."""

    state: Literal["done", "interrupted"]
    counters: dict[str, int]
    result: dict[str, Any] = field(default_factory=dict)


class EpochTrainer:
    """Trains the copies of a problem's model side by side, epoch by epoch.

    The order of samples depends on seed and epoch alone and the noise in the model on seed and update,
    so a checkpoint within an epoch goes on exactly where it was.

    Args:
        problem, recipe: what to train, and how.
        learners: one for each copy.
        data: train, val and test.
        baseline: single-task results, or None.
        run, log, view, interrupt: of the run.
        config: intervals.
        seed: of the order of samples.
        title: shown.
    """

    def __init__(
        self,
        *,
        problem: Problem,
        recipe: Recipe,
        learners: list[ModelLearner],
        data: Mapping[str, Data],
        baseline: Baseline | None,
        run: RunDirectory,
        log: MetricLog,
        view: View,
        interrupt: Interrupt,
        config: RunConfig,
        seed: int,
        title: str,
    ) -> None:
        self.problem, self.recipe, self.learners, self.data = problem, recipe, learners, data
        self.baseline, self.directory, self.log, self.view = baseline, run, log, view
        self.interrupt, self.config, self.seed, self.title = interrupt, config, seed, title
        names = [task.name for task in problem.tasks]
        self.prefixes = [f"start{i}/" for i in range(len(learners))] if len(learners) > 1 else [""]
        parts = [prefix.rstrip("/") or "trunk" for prefix in self.prefixes]
        self.gramians = GramianLog(run.path, names, parts=parts, clock="epochs")
        self.device = learners[0].device
        self.guard = NonFiniteGuard(self.device)
        self.epoch = self.batches_done = self.updates = 0
        self.statistics = self._fresh()
        unknown = [math.nan] * len(names)
        self.behind = [unknown for _ in learners]  # what performance-informed methods read
        self.reference: list[Baseline] = []  # what selection compares with
        self.best: dict[str, dict[str, Any]] = {}  # of `selected` and of `lowest_loss`
        self.wall_s = 0.0
        self._saving = Saving(config.checkpoint_interval_s)
        self._start = time.perf_counter()
        self._beat = self._shown = 0.0
        self._columns = [Column("loss", unknown, ".3f")]

    def state_dict(self) -> dict[str, Any]:
        """Everything that a checkpoint holds."""
        return {
            "learners": [learner.state_dict() for learner in self.learners],
            "best": self.best,
            "log": self.log.state_dict(),
            "trainer": {
                "epoch": self.epoch,
                "batches_done": self.batches_done,
                "updates": self.updates,
                "statistics": [statistics.state_dict() for statistics in self.statistics],
                "behind": self.behind,
                "reference": self.reference,
                "wall_s": self.elapsed,
            },
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        for learner, saved in zip(self.learners, state["learners"], strict=True):
            learner.load_state_dict(saved)
        for statistics, saved in zip(self.statistics, state["trainer"]["statistics"], strict=True):
            statistics.load_state_dict(saved)
        self.best = state["best"]
        self.log.load_state_dict(state["log"])
        own = state["trainer"]
        self.epoch, self.updates = own["epoch"], own["updates"]
        self.batches_done, self.wall_s = own["batches_done"], own["wall_s"]
        self.behind, self.reference = own["behind"], own["reference"]
        self.gramians.truncate(self.updates)

    @property
    def elapsed(self) -> float:
        """Seconds of the run, those before a resume included."""
        return self.wall_s + time.perf_counter() - self._start

    @property
    def counters(self) -> dict[str, int]:
        """What every record carries."""
        return {"epochs": self.epoch, "updates": self.updates}

    def run(self) -> Outcome:
        """Train to the end, or until a signal asks to stop.

        An error that comes between two changes of the state leaves a checkpoint of it behind.

        Raises:
            TrainingError: a loss was not finite; the state was dumped into the run directory.
        """
        with self._saving.rescuing(self._save_checked, self.view.message):
            while self.epoch < self.recipe.epochs and self.interrupt.signal is None:
                self._train_epoch()
                if self.batches_done == 0:
                    with self._saving.changing():
                        self._end_epoch()
                    done = self.epoch == self.recipe.epochs  # it has a checkpoint of its own, below
                    if self.epoch % self.config.checkpoint_interval_epochs == 0 and not done:
                        self._save()
            self._save_checked()
        if self.epoch < self.recipe.epochs:
            return Outcome("interrupted", self.counters)
        return Outcome("done", self.counters, self._finish())

    def _train_epoch(self) -> None:
        train = self.data["train"]
        order = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        batches = torch.randperm(len(train), generator=order).split(self.recipe.batch_size)
        for learner in self.learners:
            learner.begin_epoch(self.epoch)
        every = self.config.record_interval_updates
        for indices in batches[self.batches_done :]:
            batch = train[indices].to(self.device)
            # The last one too, so that there is a record of every epoch's model.
            last = self.batches_done + 1 == len(batches)
            record = every > 0 and (last or self.updates % every == 0)
            with self._saving.changing():
                self.updates += 1
                self.batches_done += 1
                for copy, learner in enumerate(self.learners):
                    self._update(copy, learner, batch, record)
                    problem = self.guard.problem(now=record or self.batches_done == len(batches))
                    if problem is not None:
                        self._fail(problem, batch)
            self._report(len(batches))
            if self._saving.overdue:
                self._save()
            if self.interrupt.signal is not None and self.batches_done < len(batches):
                return
        self.batches_done = 0
        self.epoch += 1

    def _update(self, copy: int, learner: ModelLearner, batch: Batch, record: bool) -> None:
        behind = self.behind[copy]
        metrics = learner.step(
            batch, self.updates - 1, self.statistics[copy], behind, record=record
        )
        balancer = learner.balancer
        if record and balancer.gramian is not None:
            part = self.gramians.parts[copy]
            known = torch.tensor(behind)
            weights = metrics.get("weights")
            self.gramians.add(part, self.updates, self.epoch, balancer.gramian, weights, known)
        self.guard.watch(metrics)
        self.log.add({f"{self.prefixes[copy]}{name}": v for name, v in metrics.items()})

    def _end_epoch(self) -> None:
        values: dict[str, Any] = {}
        for name, value in self.log.means().items():
            key = _log_name(name)
            if key is not None:
                values[key] = value
        scores = []
        for copy, learner in enumerate(self.learners):
            trained, validated = self.statistics[copy].scores(), learner.evaluate(self.data["val"])
            scores.append(validated)
            prefix = self.prefixes[copy]
            values |= self._described(f"{prefix}train/", trained)
            values |= self._described(f"{prefix}val/", validated)
            values |= {f"{prefix}{k}": v for k, v in self.problem.facts(learner.model).items()}
            if self.baseline is not None:
                read = trained if self.recipe.feedback == "train" else validated
                self.behind[copy] = self._drops(read)
        self.statistics = self._fresh()  # per epoch: what is left over would leak into the next one
        self._select(scores, values)
        self.log.write(self.counters, values)
        self.log.write_timing(self.counters, {"wall_s": self.elapsed})
        self._columns = self._describe_tasks(scores[0], values)

    def _select(self, scores: list[Scores], values: Mapping[str, Any]) -> None:
        """Keep the models of the best epoch, and what the log says at the lowest validation loss."""
        loss = sum(score.mean_loss for score in scores) / len(scores)
        if not self.reference:
            # Without a baseline the first epoch serves: any reference ranks one metric alike.
            first = [
                {
                    task.name: {name: value or 1.0 for name, value in row.items()}
                    for task, row in zip(self.problem.tasks, score.metrics, strict=True)
                }
                for score in scores
            ]
            self.reference = [self.baseline or own for own in first]
        rows = zip(scores, self.reference, strict=True)
        behind = [summary(drops(self.problem.tasks, s.metrics, r))["delta_m"] for s, r in rows]
        merit = {
            "delta_m": sum(behind) / len(behind), "loss": loss, "last": -float(self.epoch),
        }[self.recipe.select]  # fmt: skip
        if self._improves("selected", "merit", merit):
            models = [learner.model.state_dict() for learner in self.learners]
            copied = [{k: v.detach().clone() for k, v in model.items()} for model in models]
            self.best["selected"] = {"merit": merit, "epoch": self.epoch, "models": copied}
        if self._improves("lowest_loss", "loss", loss):
            facts = {k: v for k, v in values.items() if k.rpartition("/")[2] in _AT_LOWEST_LOSS}
            self.best["lowest_loss"] = {"loss": loss, "epoch": self.epoch, **facts}

    def _improves(self, kind: str, key: str, value: float) -> bool:
        """Whether a value is lower than the best so far; an unknown one (NaN) gives way to any."""
        return (
            kind not in self.best
            or math.isnan(self.best[kind][key])
            or value < self.best[kind][key]
        )

    def _finish(self) -> dict[str, Any]:
        last = [learner.evaluate(self.data["test"]) for learner in self.learners]
        models = [learner.model for learner in self.learners]
        files = self.problem.finish(self.directory.path, models)
        for model, saved in zip(models, self.best["selected"]["models"], strict=True):
            model.load_state_dict(saved)
        tested = [learner.evaluate(self.data["test"]) for learner in self.learners]
        result = {
            "epochs": self.epoch,
            "updates": self.updates,
            "selected_by": self.recipe.select,
            "selected_epoch": self.best["selected"]["epoch"],
            "test": [self._result(scores) for scores in tested],
            "last_epoch": [self._result(scores) for scores in last],
            "lowest_loss": self.best["lowest_loss"],
            "wall_s": self.elapsed,
        }
        self.directory.write_json("eval/final.json", result)
        for file in files:
            self.view.message(f"Wrote {file}.")
        return result

    def _result(self, scores: Scores) -> dict[str, Any]:
        names = [task.name for task in self.problem.tasks]
        result: dict[str, Any] = {
            "losses": dict(zip(names, scores.losses, strict=True)),
            "metrics": dict(zip(names, scores.metrics, strict=True)),
        }
        if self.baseline is not None:
            rows = drops(self.problem.tasks, scores.metrics, self.baseline)
            result |= {"drops": dict(zip(names, rows, strict=True)), **summary(rows)}
        return result

    def _drops(self, scores: Scores) -> list[float]:
        assert self.baseline is not None
        return task_drops(drops(self.problem.tasks, scores.metrics, self.baseline))

    def _described(self, prefix: str, scores: Scores) -> dict[str, Any]:
        values: dict[str, Any] = {f"{prefix}loss": scores.losses}
        values[f"{prefix}mean_loss"] = scores.mean_loss
        for task, metrics in zip(self.problem.tasks, scores.metrics, strict=True):
            values |= {f"{prefix}{name}/{task.name}": value for name, value in metrics.items()}
        if self.baseline is not None:
            rows = drops(self.problem.tasks, scores.metrics, self.baseline)
            values[f"{prefix}drop"] = task_drops(rows)
            values |= {f"{prefix}{name}": value for name, value in summary(rows).items()}
        return values

    def _describe_tasks(self, scores: Scores, values: Mapping[str, Any]) -> list[Column]:
        columns = [Column("loss", scores.losses, ".3f")]
        for metric in self.problem.tasks[0].metrics:
            shown = [row.get(metric.name, math.nan) for row in scores.metrics]
            columns.append(Column(metric.name, shown, ".3f"))
        if self.baseline is not None:
            columns.append(Column("behind %", self._drops(scores), ".1f"))
        weights = values.get(f"{self.prefixes[0]}balance/weight")
        return [*columns, Column("weight", weights, ".3g")] if weights else columns

    def _report(self, batches: int) -> None:
        now = time.perf_counter()
        if now - self._beat > _COUNTERS_S:
            self._beat = now
            self.directory.write_status("running", **self.counters)
        if now - self._shown < _REDRAW_S:
            return
        self._shown = now
        done = (self.epoch + self.batches_done / batches) / self.recipe.epochs
        self.view.update(
            Progress(
                title=self.directory.path.name,
                done=done,
                seconds=self.elapsed,
                seconds_left=self.elapsed * (1.0 - done) / done,
                tasks=[task.name for task in self.problem.tasks],
                columns=self._columns,
                facts={
                    "epoch": f"{self.epoch + 1} of {self.recipe.epochs}",
                    "updates": f"{self.updates:,}",
                    "method": self.title,
                },
            )
        )

    def _fail(self, what: str, batch: Batch) -> None:
        state = {
            "learners": [learner.state_dict() for learner in self.learners],
            "batch": [batch.inputs, *batch.targets],
        }
        dump = checkpoint.save(self.directory.path / "dump", self.updates, state, keep=1)
        raise TrainingError(
            f"{what} Epoch {self.epoch + 1}, update {self.updates}. The models, optimisers and the batch"
            f" are in {dump}. Lower `recipe.learning_rate`, or set `balancing.max_grad_norm`, and start"
            " anew."
        )

    def _save_checked(self) -> None:
        """Save, unless a loss has not been finite.

        Raises:
            TrainingError: one has not.
        """
        problem = self.guard.problem(now=True)
        if problem is not None:
            raise TrainingError(problem)
        self._save()

    def _save(self) -> None:
        self._saving.saved()
        checkpoint.save(
            self.directory.checkpoints,
            self.updates,
            self.state_dict(),
            keep=self.config.keep_checkpoints,
        )
        self.directory.write_status("running", **self.counters)

    def _fresh(self) -> list[Statistics]:
        return [Statistics(self.problem.tasks) for _ in self.learners]


def _log_name(name: str) -> str | None:
    """`weights` of an update becomes `balance/weight` in the log; `start0/` stays in front."""
    prefix, _, fact = name.rpartition("/")
    prefix = f"{prefix}/" if prefix else ""
    if fact in ("finite", "losses"):
        return None
    fact = {"weights": "weight", "clipped": "clip_rate"}.get(fact, fact)
    return f"{prefix}balance/{fact}"
