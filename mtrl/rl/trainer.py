"""The training loop: one straight path from rollouts to published weights. Knows no Ray."""

from __future__ import annotations

import contextlib
import math
from collections import deque
from dataclasses import dataclass
from typing import Literal

from mtrl.rl.acting.evaluation import Evaluation
from mtrl.rl.acting.fragment import Rollout
from mtrl.rl.acting.policy import flat_weights
from mtrl.rl.config import EvaluationConfig, RunConfig
from mtrl.rl.learning.replay import Batch
from mtrl.rl.learning.weight_sync import WeightSync
from mtrl.rl.parts import Parts
from mtrl.runs import checkpoint
from mtrl.runs.nan_guard import TrainingError
from mtrl.runs.saving import Saving


@dataclass(frozen=True)
class Outcome:
    """How a call of :meth:`Trainer.run` ended."""

    state: Literal["done", "interrupted"]
    counters: dict[str, int]
    evaluation: Evaluation | None = None


class Trainer:
    """Collect, learn, publish, evaluate, log and save, until the schedule is done.

    Everything that does work is passed in, so that the same loop runs in one process or on a cluster.
    To go on with a run, call `parts.load_state_dict` before :meth:`run`.

    Args:
        parts: what does the work; the collector has started.
        config: of the run directory.
        evaluation: when to evaluate.
        in_flight: rollouts requested ahead from each worker.
    """

    def __init__(
        self, parts: Parts, config: RunConfig, evaluation: EvaluationConfig, *, in_flight: int = 2
    ) -> None:
        self.parts = parts
        self.config = config
        self.evaluation = evaluation
        self.tasks = parts.tasks
        self.learner = parts.learner
        self.agent = parts.learner.agent
        self.replay = parts.learner.replay
        self.schedule = parts.schedule
        self.resets = parts.resets
        self.performance = parts.performance
        self.collector = parts.collector
        self.evaluator = parts.evaluator
        self.directory = parts.directory
        self.telemetry = parts.telemetry
        self.interrupt = parts.interrupt
        self.clock = parts.clock
        self.sync = parts.schedule.config.mode == "sync"
        self._weights = WeightSync(self.agent.actor)
        self._published = -1  # version of the last policy on its way to the workers
        self._acting = -1  # version of the last policy that the workers have
        # One entry for each rollout that a worker may be asked for now, in the order of asking.
        self._free = deque(list(range(self.collector.num_workers)) * in_flight)
        self._writer = checkpoint.Writer(self.directory.checkpoints, keep=config.keep_checkpoints)
        self._saving = Saving(config.checkpoint_interval_s)
        self._next_checkpoint = math.inf
        self._next_evaluation = math.inf

    def run(self) -> Outcome:
        """Train to the end, or until a signal asks to stop.

        An error that comes between two changes of the state leaves a checkpoint of it behind.

        Raises:
            TrainingError: a loss was not finite; the state was dumped into the run directory.
        """
        with contextlib.closing(self._writer):
            with self._saving.rescuing(self._save_now, self.telemetry.view.message):
                self._loop()
                self._save_now()
            if self.interrupt.signal is not None:
                return Outcome("interrupted", self.telemetry.counters())
            return self._finish()

    def _loop(self) -> None:
        self.telemetry.start()
        self._saving.on_save()
        self._next_checkpoint = self._next(self.config.checkpoint_interval_env_steps)
        self._next_evaluation = self._next(self.evaluation.interval_env_steps)
        self._publish()
        self._request()
        while not self.schedule.done and self.interrupt.signal is None:
            self._collect()
            self._learn()
            self._publish()
            self._request()
            self._evaluate()
            self.telemetry.report(self.collector.restarts)
            due = self.schedule.env_steps >= self._next_checkpoint or self._saving.overdue
            if due and not self.schedule.done:  # `run` saves at the end
                self._save()

    # One turn of the loop.

    def _collect(self) -> None:
        with self.clock("waiting"):
            rollouts = self.collector.receive(
                block=self.schedule.updates_due == 0, ordered=self.sync
            )
        with self.clock("ingest"):
            for rollout in rollouts:
                with self._saving.changing():
                    self._ingest(rollout)

    def _ingest(self, rollout: Rollout) -> None:
        self._free.append(rollout.worker)
        self.schedule.on_rollout(rollout.worker, rollout.env_steps)
        for fragment in rollout.fragments:
            self.replay.add(fragment)
            if fragment.episode is not None:
                self.performance.on_episode(
                    fragment.task, fragment.episode, self.schedule.env_steps
                )
        for part, seconds in rollout.seconds.items():
            self.clock.add(f"worker_{part}", seconds)
        self.telemetry.on_rollout(rollout.policy_version)

    def _learn(self) -> None:
        due = self.schedule.updates_due
        if due == 0:
            return
        with self._saving.changing():
            self._prepare()
        burst = due if self.sync else min(due, self.schedule.config.publish_interval)
        for _ in range(burst):
            with self.clock("gradients"), self._saving.changing():
                self._update()
            if self.interrupt.signal is not None:
                break
            if self._saving.overdue:  # a burst can be long
                self._save()

    def _prepare(self) -> None:
        """Do what is due before updates: reward scales, a reset, the performance that methods read."""
        if self.schedule.updates == 0:
            self._check_data()
            self.agent.set_reward_scale(self.replay.reward_means())
        if self.resets.due(self.schedule.env_steps):
            self.agent.reset_networks()
            self.agent.set_reward_scale(self.replay.reward_means())
            self.performance.on_reset(self.schedule.updates)
            self.schedule.extra_updates += self.agent.config.updates_after_reset
            self.resets.on_reset()
        self.learner.set_performance(self.performance.tensor(self.agent.device))

    def _update(self) -> None:
        every = self.config.diagnostics_interval_updates
        diagnose = every > 0 and self.schedule.updates % every == 0
        update, batch = self.learner.update(self.schedule.updates, diagnose=diagnose)
        self.schedule.on_update()
        problem = self.learner.guard.problem(
            now=self.schedule.updates % self.config.log_interval_updates == 0
        )
        if problem is not None:
            self._fail(problem, batch)
        self.telemetry.on_update(update, self.learner.performance, diagnosed=diagnose)

    def _check_data(self) -> None:
        """Refuse a task without transitions. Once filled, a ring stays filled."""
        tasks = zip(self.tasks.names, self.replay.sizes, strict=True)
        missing = [name for name, size in tasks if size == 0]
        if missing:
            raise TrainingError(
                f"Every task should have transitions before the first update. Found none of"
                f" {', '.join(missing)} after {self.schedule.env_steps} environment steps: each of its"
                f" steps diverged ({self.performance.diverged} episodes in all). Raise"
                " schedule.warmup_env_steps, or leave the task out."
            )

    def _publish(self) -> None:
        first = self._published < 0
        new = self.schedule.updates - self._published
        with self.clock("publish"):
            held = self.schedule.held_by_lag and new > 0
            if first or held or new >= self.schedule.config.publish_interval:
                self._weights.start(self.schedule.updates)
                self._published = self.schedule.updates
            # With no update due there is time to wait, and the next request has the newest policy.
            taken = self._weights.take(wait=first or self.sync or self.schedule.updates_due == 0)
            if taken is not None:
                self.collector.publish(*taken)
                self._acting = taken[1]

    def _request(self) -> None:
        while self._free and self.schedule.may_request:
            worker, explore = self._free.popleft(), self.schedule.explore
            self.collector.request(worker, explore)
            self.schedule.on_request(worker, self._acting, explore)

    def _evaluate(self) -> None:
        with self.clock("evaluation"):
            if self.schedule.env_steps >= self._next_evaluation and not self.schedule.done:
                self._next_evaluation = self._next(self.evaluation.interval_env_steps)
                weights = flat_weights(self.agent.actor)
                self.evaluator.submit(weights, self.schedule.updates, self.schedule.env_steps)
            result = self.evaluator.poll(block=self.sync)
        if result is not None:
            self._take_evaluation(*result)

    def _take_evaluation(self, env_steps: int, evaluation: Evaluation, kind: str = "eval") -> None:
        if kind == "eval":
            self.performance.on_evaluation(evaluation, env_steps)
        content = evaluation.to_json(self.tasks.names) | {"at_env_steps": env_steps}
        name = "final" if kind == "final" else f"step_{env_steps:012d}"
        self.directory.write_json(f"eval/{name}.json", content)
        self.telemetry.log.write(
            self.telemetry.counters() | {"evaluated_at": env_steps},
            {
                f"{kind}/mean_success_rate": evaluation.mean_success_rate,
                f"{kind}/success_rate": evaluation.success_rate,
            },
        )

    def _finish(self) -> Outcome:
        result = self.evaluator.poll(block=True)
        if result is not None:
            self._take_evaluation(*result)
        if not self.evaluation.final:
            return Outcome("done", self.telemetry.counters())
        self.telemetry.view.message("Training is done. Final evaluation: every goal once per task.")
        weights = flat_weights(self.agent.actor)
        self.collector.close()
        evaluation = self.evaluator.full(weights, self.schedule.updates)
        if self.interrupt.signal is not None:
            return Outcome("interrupted", self.telemetry.counters())
        self._take_evaluation(self.schedule.env_steps, evaluation, "final")
        return Outcome("done", self.telemetry.counters(), evaluation)

    # Saving.

    def _fail(self, what: str, batch: Batch) -> None:
        state = {"agent": self.agent.state_dict(), "batch": batch._asdict()}
        dump = checkpoint.save(self.directory.path / "dump", self.schedule.updates, state, keep=1)
        raise TrainingError(
            f"{what} Update {self.schedule.updates}, {self.schedule.env_steps} environment steps. The"
            f" networks, optimisers and the batch are in {dump}. Lower the learning rates, or use"
            " sac.max_grad_norm, and start from the last checkpoint."
        )

    def _save_now(self) -> None:
        """Save, and wait for the disk.

        Raises:
            TrainingError: a loss has not been finite; such a state is not saved.
        """
        problem = self.learner.guard.problem(now=True)
        if problem is not None:
            raise TrainingError(problem)
        self._save()
        self._writer.wait()

    def _save(self) -> None:
        self._saving.on_save()
        self._next_checkpoint = self._next(self.config.checkpoint_interval_env_steps)
        with self.clock("checkpoint"):
            self._writer.submit(self.schedule.env_steps, self.parts.state_dict())
        self.directory.write_status("running", **self.telemetry.counters())

    def _next(self, interval: int) -> float:
        return (self.schedule.env_steps // interval + 1) * interval if interval else math.inf
