"""The training loop: one straight path from rollouts to published weights. Knows no Ray."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from mtrl.envs import TaskSet
from mtrl.rl.actor import flat_weights
from mtrl.rl.collector import Collector
from mtrl.rl.config import EvaluationConfig, RunConfig
from mtrl.rl.evaluate import Evaluation, Evaluator
from mtrl.rl.fragment import Rollout
from mtrl.rl.performance import PerformanceTracker
from mtrl.rl.replay import Batch, Replay
from mtrl.rl.sac import MultiTaskSAC
from mtrl.rl.schedule import Schedule
from mtrl.runs import checkpoint
from mtrl.runs.directory import RunDirectory
from mtrl.runs.interrupt import Interrupt
from mtrl.runs.metrics import MetricLog
from mtrl.runs.view import Progress, View

_SAMPLED_EVERY = 10  # updates between two that enter the log's averages
_MASKED_LIMIT = 100  # updates in a row with a non-finite gradient row under a finite loss
_HEARTBEAT_S = 5.0


class TrainingError(RuntimeError):
    """Training cannot go on: a loss or a gradient is not finite."""


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
        log: MetricLog,
        view: View,
        interrupt: Interrupt,
        config: RunConfig,
        evaluation: EvaluationConfig,
        in_flight: int = 2,
    ) -> None:
        self.tasks, self.agent, self.replay = tasks, agent, replay
        self.schedule, self.performance = schedule, performance
        self.collector, self.evaluator = collector, evaluator
        self.directory, self.log, self.view, self.interrupt = run, log, view, interrupt
        self.config, self.evaluation, self.in_flight = config, evaluation, in_flight
        self.sync = schedule.config.mode == "sync"
        self.counts = {"episodes": 0, "diverged": 0, "resets": 0, "evaluations": 0}
        self.scaled = False
        self.wall_s = 0.0
        self.seconds: dict[str, float] = {}
        self.weights: list[float] | None = None
        self._performance = performance.tensor(agent.device)
        self._published = -1
        self._bad = torch.zeros((), dtype=torch.int64, device=agent.device)
        self._masked_streak = torch.zeros((), dtype=torch.int64, device=agent.device)
        self._mark = (
            time.perf_counter(),
            0,
            0,
        )  # time, env_steps, updates at the last timing record
        self._shown = self._beat = 0.0
        self._start = self._mark[0]
        self._next_checkpoint = self._next_evaluation = math.inf
        self.rates = (0.0, 0.0)  # env steps and updates per second
        self.bottleneck = "measuring"

    # The state of a run besides what its parts hold themselves.

    def state_dict(self) -> dict[str, Any]:
        """Everything that a checkpoint holds."""
        return {
            "agent": self.agent.state_dict(),
            "replay": self.replay.state_dict(),
            "schedule": self.schedule.state_dict(),
            "performance": self.performance.state_dict(),
            "collector": self.collector.state_dict(),
            "policy": {  # what `load_policy` needs to build the actor
                "tasks": self.tasks.names,
                "obs_dim": self.tasks.obs_dim,
                "action_dim": self.tasks.action_dim,
                "networks": asdict(self.agent.networks),
            },
            "trainer": {
                "counts": self.counts,
                "scaled": self.scaled,
                "wall_s": self.wall_s + self._elapsed(),
                "metrics_offset": self.log.offset(),
            },
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from :meth:`state_dict`; collector and log are built from theirs by the caller."""
        self.agent.load_state_dict(state["agent"])
        self.replay.load_state_dict(state["replay"])
        self.schedule.load_state_dict(state["schedule"])
        self.performance.load_state_dict(state["performance"])
        self.counts = dict(state["trainer"]["counts"])
        self.scaled = state["trainer"]["scaled"]
        self.wall_s = state["trainer"]["wall_s"]
        self._performance = self.performance.tensor(self.agent.device)

    def run(self) -> Outcome:
        """Train to the end, or until a signal asks to stop.

        Raises:
            TrainingError: a loss was not finite; the state was dumped into the run directory.
        """
        self._start = time.perf_counter()
        self._mark = (self._start, self.schedule.env_steps, self.schedule.updates)
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
            self._report()
            if self.schedule.env_steps >= self._next_checkpoint:
                self._save()
        self._save()
        if self.interrupt.signal is not None:
            return Outcome("interrupted", self._counters())
        return self._finish()

    # One turn of the loop.

    def _collect(self) -> None:
        with self._timed("waiting"):
            rollouts = self.collector.receive(
                block=self.schedule.updates_due == 0, ordered=self.sync
            )
        with self._timed("ingest"):
            for rollout in rollouts:
                self._ingest(rollout)
        if rollouts and self.performance.source == "training":
            self._performance = self.performance.tensor(self.agent.device)

    def _ingest(self, rollout: Rollout) -> None:
        self.schedule.env_steps += rollout.env_steps
        for fragment in rollout.fragments:
            self.replay.add(fragment)
            if fragment.episode is not None:
                self.counts["episodes"] += 1
                self.counts["diverged"] += fragment.episode.diverged
                self.performance.update(fragment.task, fragment.episode, self.schedule.env_steps)
        for part, spent in rollout.seconds.items():
            self._add_seconds(f"worker_{part}", spent)
        if rollout.policy_version >= 0:
            self._add_seconds("lag_updates", self.schedule.updates - rollout.policy_version)
            self._add_seconds("lag_count", 1)

    def _learn(self) -> None:
        due = self.schedule.updates_due
        if due == 0:
            return
        self._prepare_networks()
        with self._timed("learning"):
            burst = due if self.sync else min(due, self.schedule.config.publish_interval)
            for _ in range(burst):
                batch = self.replay.sample(self.agent.config.batch_size)
                metrics = self.agent.update(batch, self._performance)
                self.schedule.updates += 1
                self._watch(metrics, batch)
                if self.schedule.updates % self.config.log_interval_updates == 0:
                    self._write_metrics()
                if self.interrupt.signal is not None and not self.sync:
                    return

    def _prepare_networks(self) -> None:
        if not self.scaled:
            self.agent.set_reward_scale(self.replay.reward_means())
            self.scaled = True
        resets = self.agent.config.resets
        if self.counts["resets"] < resets:
            due_at = self.schedule.total_env_steps * (self.counts["resets"] + 1) / (resets + 1)
            if self.schedule.env_steps >= due_at:
                self.agent.reset_networks()
                self.agent.set_reward_scale(self.replay.reward_means())
                self.schedule.extra_updates += self.agent.config.updates_after_reset
                self.counts["resets"] += 1

    def _publish(self) -> None:
        new = self.schedule.updates - self._published
        if self._published < 0 or new >= self.schedule.config.publish_interval:
            with self._timed("publish"):
                self.collector.publish(flat_weights(self.agent.actor), self.schedule.updates)
            self._published = self.schedule.updates

    def _request(self) -> None:
        for _ in range(self.in_flight):
            for worker in range(self.collector.num_workers):
                flying = [self.collector.in_flight(i) for i in range(self.collector.num_workers)]
                if flying[worker] < self.in_flight and self.schedule.may_request(sum(flying)):
                    self.collector.request(worker, self.schedule.explore)
                    self.schedule.requested_env_steps += self.schedule.rollout_env_steps

    def _evaluate(self) -> None:
        with self._timed("evaluation"):
            if self.schedule.env_steps >= self._next_evaluation and not self.schedule.done:
                self._next_evaluation = self._next(self.evaluation.interval_env_steps)
                weights = flat_weights(self.agent.actor)
                self.evaluator.submit(weights, self.schedule.updates, self.schedule.env_steps)
            result = self.evaluator.poll(block=self.sync)
        if result is not None:
            self._take_evaluation(*result)

    def _take_evaluation(self, env_steps: int, evaluation: Evaluation, kind: str = "eval") -> None:
        self.counts["evaluations"] += 1
        if kind == "eval":
            self.performance.set_evaluation(evaluation.success_rate, env_steps)
            if self.performance.source == "evaluation":
                self._performance = self.performance.tensor(self.agent.device)
        content = evaluation.to_json(self.tasks.names) | {"at_env_steps": env_steps}
        name = "final" if kind == "final" else f"step_{env_steps:012d}"
        self.directory.write_json(f"eval/{name}.json", content)
        self.log.write(
            self._counters() | {"evaluated_at": env_steps},
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
            return Outcome("done", self._counters())
        self.view.message("Training is done. Final evaluation: every goal once per task.")
        weights = flat_weights(self.agent.actor)
        self.collector.close()
        evaluation = self.evaluator.full(weights, self.schedule.updates)
        if self.interrupt.signal is not None:
            return Outcome("interrupted", self._counters())
        self._take_evaluation(self.schedule.env_steps, evaluation, "final")
        return Outcome("done", self._counters(), evaluation)

    # Watching, logging and saving.

    def _watch(self, metrics: dict[str, Tensor], batch: Batch) -> None:
        self._bad += ~metrics["finite"]
        masked = [value for name, value in metrics.items() if name.endswith("masked_tasks")]
        if masked:
            any_masked = torch.stack([value > 0 for value in masked]).any()
            self._masked_streak = torch.where(any_masked, self._masked_streak + 1, 0)
        if self.schedule.updates % _SAMPLED_EVERY == 0:
            self.log.add(metrics)
        # Reading a flag is free on the CPU; a device is asked once per log interval.
        on_cpu = self.agent.device.type == "cpu"
        if on_cpu or self.schedule.updates % self.config.log_interval_updates == 0:
            if int(self._bad) > 0:
                self._fail(
                    "A loss is not finite; the update that produced it changed nothing.", batch
                )
            if int(self._masked_streak) >= _MASKED_LIMIT:
                self._fail(
                    f"A task's gradient has not been finite for {_MASKED_LIMIT} updates in a row.",
                    batch,
                )

    def _fail(self, what: str, batch: Batch) -> None:
        state = {"agent": self.agent.state_dict(), "batch": batch._asdict()}
        dump = checkpoint.save(self.directory.path / "dump", self.schedule.updates, state, keep=1)
        raise TrainingError(
            f"{what} Update {self.schedule.updates}, {self.schedule.env_steps} environment steps. The"
            f" networks, optimisers and the batch are in {dump}. Lower the learning rates, or use"
            " sac.max_grad_norm, and start from the last checkpoint."
        )

    def _write_metrics(self) -> None:
        values: dict[str, Any] = {}
        for name, value in self.log.means().items():
            part, _, fact = name.partition("/")
            key = _log_name(part, fact)
            if key is not None:
                values[key] = value
        self.weights = _as_list(values.get("balance/weight/critic"))
        success = self.performance.success()
        known = [s for s in success if not math.isnan(s)]
        values["charts/mean_success_rate"] = sum(known) / len(known) if known else float("nan")
        values["charts/{task}_success_rate"] = success
        values["charts/{task}_return"] = self.performance.mean_returns()
        values["performance/count"] = self.performance.counts()
        values["performance/age"] = self.performance.ages(self.schedule.env_steps)
        values["system/diverged_episodes"] = self.counts["diverged"]
        self.log.write(self._counters(), values)

    def _report(self) -> None:
        now = time.perf_counter()
        if now - self._beat > _HEARTBEAT_S:
            self._beat = now
            self.directory.write_status("running", **self._counters())
        if now - self._mark[0] >= self.config.log_interval_s:
            self._write_timing(now)
        if now - self._shown > 0.5:
            self._shown = now
            self.view.update(self._progress())

    def _write_timing(self, now: float) -> None:
        then, env_steps, updates = self._mark
        span = now - then
        lag_count = self.seconds.pop("lag_count", 0)
        lag = self.seconds.pop("lag_updates", 0.0) / lag_count if lag_count else 0.0
        self.rates = (
            (self.schedule.env_steps - env_steps) / span,
            (self.schedule.updates - updates) / span,
        )
        shares = {f"time/{part}": spent / span for part, spent in self.seconds.items()}
        self.bottleneck = _bottleneck(shares)
        self.log.write_timing(
            self._counters(),
            {
                "charts/SPS": self.rates[0],
                "charts/UPS": self.rates[1],
                "wall_s": self.wall_s + self._elapsed(),
                "bottleneck": self.bottleneck,
                "system/policy_lag_updates": lag,
                "system/worker_restarts": self.collector.restarts,
                **shares,
            },
        )
        self.seconds = {}
        self._mark = (now, self.schedule.env_steps, self.schedule.updates)

    def _progress(self) -> Progress:
        done = self.schedule.env_steps / max(1, self.schedule.total_env_steps)
        remaining = self.schedule.total_env_steps - self.schedule.env_steps
        left = remaining / self.rates[0] if self.rates[0] else None
        return Progress(
            title=self.directory.path.name,
            done=done,
            seconds=self.wall_s + self._elapsed(),
            seconds_left=left,
            tasks=self.tasks.names,
            success=self.performance.success(),
            returns=self.performance.mean_returns(),
            weights=self.weights,
            facts={
                "env steps": f"{self.schedule.env_steps:,} of {self.schedule.total_env_steps:,}",
                "updates": f"{self.schedule.updates:,}",
                "env steps/s": f"{self.rates[0]:,.0f}",
                "updates/s": f"{self.rates[1]:,.1f}",
                "method": self.agent.methods["critic"],
                "bottleneck": self.bottleneck,
            },
        )

    def _save(self) -> None:
        self._next_checkpoint = self._next(self.config.checkpoint_interval_env_steps)
        with self._timed("checkpoint"):
            checkpoint.save(
                self.directory.checkpoints,
                self.schedule.env_steps,
                self.state_dict(),
                keep=self.config.keep_checkpoints,
            )
        self.directory.write_status("running", **self._counters())

    def _counters(self) -> dict[str, int]:
        return {
            "env_steps": self.schedule.env_steps,
            "updates": self.schedule.updates,
            "episodes": self.counts["episodes"],
        }

    def _next(self, interval: int) -> float:
        return (self.schedule.env_steps // interval + 1) * interval if interval else math.inf

    def _elapsed(self) -> float:
        return time.perf_counter() - self._start

    def _timed(self, part: str) -> _Timed:
        return _Timed(self, part)

    def _add_seconds(self, part: str, seconds: float) -> None:
        self.seconds[part] = self.seconds.get(part, 0.0) + seconds


class _Timed:
    def __init__(self, trainer: Trainer, part: str) -> None:
        self.trainer, self.part = trainer, part

    def __enter__(self) -> None:
        self.start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.trainer._add_seconds(self.part, time.perf_counter() - self.start)


def _log_name(part: str, fact: str) -> str | None:
    if fact in ("", "finite"):
        return None
    if fact == "losses":
        return f"losses/{part}"
    if fact in ("q", "entropy", "alpha"):
        return f"sac/{fact}"
    fact = {"weights": "weight", "clipped": "clip_rate"}.get(fact, fact)
    return f"balance/{fact}/{part}"


def _as_list(value: Any) -> list[float] | None:
    return value if isinstance(value, list) else None


def _bottleneck(shares: dict[str, float]) -> str:
    waiting, learning = shares.get("time/waiting", 0.0), shares.get("time/learning", 0.0)
    if waiting > 0.3:
        return "collection (more workers would help)"
    if learning > 0.6:
        return "learner (a GPU or smaller networks would help)"
    return "balanced"
