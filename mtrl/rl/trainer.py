"""The training loop: one straight path from rollouts to published weights. Knows no Ray."""

from __future__ import annotations

import contextlib
import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from torch import Tensor

from mtrl.envs import TaskSet
from mtrl.rl.acting.evaluation import Evaluation
from mtrl.rl.acting.fragment import Rollout
from mtrl.rl.acting.interfaces import Collector, Evaluator
from mtrl.rl.acting.policy import flat_weights
from mtrl.rl.config import EvaluationConfig, RunConfig
from mtrl.rl.learning.learner import Learner, cuda_tapes
from mtrl.rl.learning.replay import Batch, Replay
from mtrl.rl.learning.sac import MultiTaskSAC
from mtrl.rl.learning.weight_sync import WeightSync
from mtrl.rl.performance import PerformanceTracker
from mtrl.rl.schedule import Schedule
from mtrl.rl.telemetry import Telemetry
from mtrl.runs import checkpoint
from mtrl.runs.directory import RunDirectory
from mtrl.runs.interrupt import Interrupt
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
    """

    def __init__(
        self,
        *,
        tasks: TaskSet,
        agent: MultiTaskSAC,
        replay: Replay,
        schedule: Schedule,
        performance: PerformanceTracker,
        collector: Collector,
        evaluator: Evaluator,
        run: RunDirectory,
        telemetry: Telemetry,
        interrupt: Interrupt,
        config: RunConfig,
        evaluation: EvaluationConfig,
        in_flight: int = 2,
        cuda_graphs: bool = True,
    ) -> None:
        self.tasks, self.agent, self.replay = tasks, agent, replay
        self.updates = Learner(
            agent,
            replay,
            baseline=performance.baseline,
            tapes=cuda_tapes(agent, replay) if cuda_graphs else None,
        )
        self.export = WeightSync(agent.actor)
        self.schedule, self.performance = schedule, performance
        self.collector, self.evaluator = collector, evaluator
        self.directory, self.telemetry, self.interrupt = run, telemetry, interrupt
        self.config, self.evaluation, self.in_flight = config, evaluation, in_flight
        self.sync = schedule.config.mode == "sync"
        self.scaled = False
        self._published = self._acting = -1  # versions: the last on its way, the last given out
        self._writer = checkpoint.Writer(run.checkpoints, keep=config.keep_checkpoints)
        self._saving = Saving(config.checkpoint_interval_s)
        self._next_checkpoint = self._next_evaluation = math.inf

    # The state of a run besides what its parts hold themselves.

    def state_dict(self) -> dict[str, Any]:
        """Everything that a checkpoint holds."""
        return {
            "agent": self.agent.state_dict(),
            "replay": self.replay.state_dict(),
            "schedule": self.schedule.state_dict(),
            "performance": self.performance.state_dict(),
            "log": self.telemetry.log.state_dict(),
            "collector": self.collector.state_dict(),
            "policy": {  # what `load_policy` needs to build the actor
                "tasks": self.tasks.names,
                "obs_dim": self.tasks.obs_dim,
                "action_dim": self.tasks.action_dim,
                "networks": asdict(self.agent.networks),
            },
            "trainer": {
                "counts": self.telemetry.counts,
                "scaled": self.scaled,
                "wall_s": self.telemetry.elapsed,
            },
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`; the collector is built from its own by the caller."""
        self.agent.load_state_dict(state["agent"])
        self.replay.load_state_dict(state["replay"])
        self.schedule.load_state_dict(state["schedule"])
        self.performance.load_state_dict(state["performance"])
        self.telemetry.log.load_state_dict(state["log"])
        self.telemetry.counts = dict(state["trainer"]["counts"])
        self.scaled = state["trainer"]["scaled"]
        self.telemetry.wall_s = state["trainer"]["wall_s"]
        self.telemetry.gramians.truncate(self.schedule.updates)
        self.updates.forget()

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
        self._saving.saved()
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
            if due and not self.schedule.done:  # the end has a checkpoint of its own
                self._save()

    # One turn of the loop.

    def _collect(self) -> None:
        with self.telemetry.timed("waiting"):
            rollouts = self.collector.receive(
                block=self.schedule.updates_due == 0, ordered=self.sync
            )
        with self.telemetry.timed("ingest"):
            for rollout in rollouts:
                with self._saving.changing():
                    self._ingest(rollout)

    def _ingest(self, rollout: Rollout) -> None:
        self.schedule.received(rollout.worker, rollout.env_steps)
        for fragment in rollout.fragments:
            self.replay.add(fragment)
            if fragment.episode is not None:
                self.telemetry.counts["episodes"] += 1
                self.telemetry.counts["diverged"] += fragment.episode.diverged
                self.performance.episode_ended(
                    fragment.task, fragment.episode, self.schedule.env_steps
                )
        for part, spent in rollout.seconds.items():
            self.telemetry.add_seconds(f"worker_{part}", spent)
        if rollout.policy_version >= 0:
            self.telemetry.lagged(self.schedule.updates - rollout.policy_version)

    def _learn(self) -> None:
        due = self.schedule.updates_due
        if due == 0:
            return
        with self._saving.changing():
            self._prepare_networks()
        burst = due if self.sync else min(due, self.schedule.config.publish_interval)
        for _ in range(burst):
            with self.telemetry.timed("learning"), self._saving.changing():
                self._update()
            if self.interrupt.signal is not None:
                break
            if self._saving.overdue:  # a burst can be long
                self._save()
        for part, spent in self.updates.take_seconds().items():
            self.telemetry.add_seconds(part, spent)

    def _update(self) -> None:
        every = self.config.record_interval_updates
        record = every > 0 and self.schedule.updates % every == 0
        metrics, batch = self.updates(record=record)
        self.schedule.updates += 1
        if record:
            self._record(metrics)
        self._watch(batch)
        self.telemetry.learned(metrics, recorded=record)

    def _record(self, metrics: dict[str, Tensor]) -> None:
        for part, balancer in self.agent.balancers.items():
            if f"{part}/losses" in metrics and balancer.gramian is not None:
                self.telemetry.gramians.add(
                    part,
                    self.schedule.updates,
                    self.schedule.env_steps,
                    balancer.gramian,
                    metrics.get(f"{part}/weights"),
                    self.updates.performance,
                )

    def _prepare_networks(self) -> None:
        """What is due before updates: reward scales, a reset, what methods read of performance."""
        if not self.scaled:
            self._check_data()
            self.agent.set_reward_scale(self.replay.reward_means())
            self.scaled = True
        resets = self.agent.config.resets
        if self.telemetry.counts["resets"] < resets:
            due_at = (
                self.schedule.total_env_steps * (self.telemetry.counts["resets"] + 1) / (resets + 1)
            )
            if self.schedule.env_steps >= due_at:
                self.agent.reset_networks()
                self.performance.networks_reset(self.schedule.updates)
                self.agent.set_reward_scale(self.replay.reward_means())
                self.schedule.extra_updates += self.agent.config.updates_after_reset
                self.telemetry.counts["resets"] += 1
        self.updates.set_performance(self.performance.tensor(self.agent.device))

    def _check_data(self) -> None:
        """Whether there is something to learn from, for every task; rings never get empty again."""
        tasks = zip(self.tasks.names, self.replay.sizes, strict=True)
        missing = [name for name, size in tasks if size == 0]
        if missing:
            raise TrainingError(
                f"Every task should have transitions before the first update. Found none of"
                f" {', '.join(missing)} after {self.schedule.env_steps} environment steps: each of its"
                f" steps diverged ({self.telemetry.counts['diverged']} episodes in all). Raise"
                " schedule.warmup_env_steps, or leave the task out."
            )

    def _publish(self) -> None:
        first = self._published < 0
        new = self.schedule.updates - self._published
        with self.telemetry.timed("publish"):
            held = self.schedule.held_by_lag and new > 0
            if first or held or new >= self.schedule.config.publish_interval:
                self.export.start(self.schedule.updates)
                self._published = self.schedule.updates
            # With nothing to learn from yet, the next request may as well have the newest policy.
            taken = self.export.take(wait=first or self.sync or self.schedule.updates_due == 0)
            if taken is not None:
                self.collector.publish(*taken)
                self._acting = taken[1]

    def _request(self) -> None:
        for _ in range(self.in_flight):
            for worker in range(self.collector.num_workers):
                flying = [self.collector.in_flight(i) for i in range(self.collector.num_workers)]
                if flying[worker] < self.in_flight and self.schedule.may_request(sum(flying)):
                    explore = self.schedule.explore
                    self.collector.request(worker, explore)
                    self.schedule.requested(worker, self._acting, explore)

    def _evaluate(self) -> None:
        with self.telemetry.timed("evaluation"):
            if self.schedule.env_steps >= self._next_evaluation and not self.schedule.done:
                self._next_evaluation = self._next(self.evaluation.interval_env_steps)
                weights = flat_weights(self.agent.actor)
                self.evaluator.submit(weights, self.schedule.updates, self.schedule.env_steps)
            result = self.evaluator.poll(block=self.sync)
        if result is not None:
            self._take_evaluation(*result)

    def _take_evaluation(self, env_steps: int, evaluation: Evaluation, kind: str = "eval") -> None:
        if kind == "eval":
            self.performance.evaluated(evaluation, env_steps)
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

    # Watching, logging and saving.

    def _watch(self, batch: Batch) -> None:
        now = self.schedule.updates % self.config.log_interval_updates == 0
        problem = self.updates.guard.problem(now=now)
        if problem is not None:
            self._fail(problem, batch)

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
        problem = self.updates.guard.problem(now=True)
        if problem is not None:
            raise TrainingError(problem)
        self._save()
        self._writer.wait()

    def _save(self) -> None:
        self._saving.saved()
        self._next_checkpoint = self._next(self.config.checkpoint_interval_env_steps)
        with self.telemetry.timed("checkpoint"):
            self._writer.submit(self.schedule.env_steps, self.state_dict())
        self.directory.write_status("running", **self.telemetry.counters())

    def _next(self, interval: int) -> float:
        return (self.schedule.env_steps // interval + 1) * interval if interval else math.inf
