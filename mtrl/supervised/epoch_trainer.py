"""The training loop that every problem shares. It names no problem and no method."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from mtrl.runs import checkpoint
from mtrl.runs.directory import RunDirectory
from mtrl.runs.interrupt import Interrupt
from mtrl.runs.nan_guard import NonFiniteGuard, TrainingError
from mtrl.runs.saving import Saving
from mtrl.supervised.config import RunConfig
from mtrl.supervised.epoch_telemetry import EpochTelemetry
from mtrl.supervised.model_learner import ModelLearner
from mtrl.supervised.problem import Batch, Data, Problem, Recipe
from mtrl.supervised.score_tables import ScoreTables
from mtrl.supervised.selection import Baseline, Models, Selection
from mtrl.supervised.task_metrics import Statistics


@dataclass(frozen=True)
class Outcome:
    """How a call of :meth:`EpochTrainer.run` ended.

    Attributes:
        state: `done` or `interrupted`.
        counters: epochs and updates.
        result: the content of `eval/final.json` where the run is done.
    """

    state: Literal["done", "interrupted"]
    counters: dict[str, int]
    result: dict[str, Any] = field(default_factory=dict)


class EpochTrainer:
    """Trains the copies of a problem's model side by side, epoch by epoch.

    The order of samples depends on seed and epoch alone and the noise in the model on seed and update,
    so a checkpoint within an epoch goes on exactly where it was.

    Args:
        problem: what to train.
        recipe: how to train it.
        learners: one for each copy.
        data: train, val and test.
        baseline: single-task results, or None.
        run: the run directory.
        telemetry: logs and shows.
        interrupt: the signals received.
        config: intervals.
        seed: of the order of samples.
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
        telemetry: EpochTelemetry,
        interrupt: Interrupt,
        config: RunConfig,
        seed: int,
    ) -> None:
        self.problem = problem
        self.recipe = recipe
        self.learners = learners
        self.data = data
        self.directory = run
        self.telemetry = telemetry
        self.interrupt = interrupt
        self.config = config
        self.seed = seed
        self.tables = ScoreTables(problem.tasks, baseline)
        self.selection = Selection(problem.tasks, baseline, recipe.select)
        self.device = learners[0].device
        self.guard = NonFiniteGuard(self.device)
        self.epoch = 0
        self.batches_done = 0
        self.updates = 0
        self.statistics = self._fresh()
        # What performance-informed methods read: `[m]` for each copy.
        self.behind = [[math.nan] * len(problem.tasks) for _ in learners]
        self._saving = Saving(config.checkpoint_interval_s)

    def state_dict(self) -> dict[str, Any]:
        """Everything that a checkpoint holds."""
        return {
            "learners": [learner.state_dict() for learner in self.learners],
            "selection": self.selection.state_dict(),
            "telemetry": self.telemetry.state_dict(),
            "trainer": {
                "epoch": self.epoch,
                "batches_done": self.batches_done,
                "updates": self.updates,
                "statistics": [statistics.state_dict() for statistics in self.statistics],
                "behind": self.behind,
            },
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`."""
        for learner, saved in zip(self.learners, state["learners"], strict=True):
            learner.load_state_dict(saved)
        self.selection.load_state_dict(state["selection"])
        own = state["trainer"]
        for statistics, saved in zip(self.statistics, own["statistics"], strict=True):
            statistics.load_state_dict(saved)
        self.epoch = own["epoch"]
        self.batches_done = own["batches_done"]
        self.updates = own["updates"]
        self.behind = own["behind"]
        self.telemetry.load_state_dict(state["telemetry"], self.updates)

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
        with self._saving.rescuing(self._save_checked, self.telemetry.view.message):
            while self.epoch < self.recipe.epochs and self.interrupt.signal is None:
                self._train_epoch()
                if self.batches_done == 0:
                    with self._saving.changing():
                        self._end_epoch()
                    done = self.epoch == self.recipe.epochs  # `_save_checked` below saves it
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
        every = self.config.diagnostics_interval_updates
        for indices in batches[self.batches_done :]:
            batch = train[indices].to(self.device)
            # The last one too, so that there are diagnostics of every epoch's model.
            last = self.batches_done + 1 == len(batches)
            diagnose = every > 0 and (last or self.updates % every == 0)
            with self._saving.changing():
                self.updates += 1
                self.batches_done += 1
                for copy, learner in enumerate(self.learners):
                    self._update(copy, learner, batch, diagnose)
                    problem = self.guard.problem(now=diagnose or last)
                    if problem is not None:
                        self._fail(problem, batch)
            self._report(len(batches))
            if self._saving.overdue:
                self._save()
            if self.interrupt.signal is not None and self.batches_done < len(batches):
                return
        self.batches_done = 0
        self.epoch += 1

    def _update(self, copy: int, learner: ModelLearner, batch: Batch, diagnose: bool) -> None:
        behind = self.behind[copy]
        step = learner.step(
            batch, self.updates - 1, self.statistics[copy], behind, diagnose=diagnose
        )
        self.guard.watch(step.finite, step.masked)
        self.telemetry.on_update(copy, step, behind, self.counters, diagnosed=diagnose)

    def _end_epoch(self) -> None:
        values = self.telemetry.take_means()
        scores = []
        for copy, learner in enumerate(self.learners):
            trained, validated = self.statistics[copy].scores(), learner.evaluate(self.data["val"])
            scores.append(validated)
            prefix = self.telemetry.prefixes[copy]
            values |= self.tables.log_values(f"{prefix}train/", trained)
            values |= self.tables.log_values(f"{prefix}val/", validated)
            values |= {f"{prefix}{k}": v for k, v in self.problem.facts(learner.model).items()}
            read = trained if self.recipe.feedback == "train" else validated
            self.behind[copy] = self.tables.behind(read)
        self.statistics = self._fresh()  # per epoch: what is left over would leak into the next one
        self.selection.on_epoch(self.epoch, scores, values, self._copied_models)
        weights = values.get(f"{self.telemetry.prefixes[0]}balance/weight")
        columns = self.tables.columns(scores[0], weights)
        self.telemetry.on_epoch(self.counters, values, columns)

    def _copied_models(self) -> Models:
        models = [learner.model.state_dict() for learner in self.learners]
        return [{k: v.detach().clone() for k, v in model.items()} for model in models]

    def _finish(self) -> dict[str, Any]:
        last = [learner.evaluate(self.data["test"]) for learner in self.learners]
        models = [learner.model for learner in self.learners]
        files = self.problem.finish(self.directory.path, models)
        best = self.selection.best
        for model, saved in zip(models, best["selected"]["models"], strict=True):
            model.load_state_dict(saved)
        tested = [learner.evaluate(self.data["test"]) for learner in self.learners]
        result = {
            "epochs": self.epoch,
            "updates": self.updates,
            "selected_by": self.recipe.select,
            "selected_epoch": best["selected"]["epoch"],
            "test": [self.tables.result(scores) for scores in tested],
            "last_epoch": [self.tables.result(scores) for scores in last],
            "lowest_loss": best["lowest_loss"],
            "wall_s": self.telemetry.elapsed,
        }
        self.directory.write_json("eval/final.json", result)
        for file in files:
            self.telemetry.view.message(f"Wrote {file}.")
        return result

    def _report(self, batches: int) -> None:
        done = (self.epoch + self.batches_done / batches) / self.recipe.epochs
        self.telemetry.report(self.counters, done, self.recipe.epochs)

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
        self._saving.on_save()
        checkpoint.save(
            self.directory.checkpoints,
            self.updates,
            self.state_dict(),
            keep=self.config.keep_checkpoints,
        )
        self.directory.write_status("running", **self.counters)

    def _fresh(self) -> list[Statistics]:
        return [Statistics(self.problem.tasks) for _ in self.learners]
