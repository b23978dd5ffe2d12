"""Logs, status and live view of a training loop. Nothing here decides what the loop does."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from mtrl.rl.config import RunConfig
from mtrl.rl.learning.sac import Update
from mtrl.rl.performance import PerformanceTracker
from mtrl.rl.schedule import Schedule
from mtrl.rl.time_budget import bottleneck, budget_line, time_shares
from mtrl.runs.directory import RunDirectory
from mtrl.runs.gramian_log import GramianLog
from mtrl.runs.metric_log import MetricLog
from mtrl.runs.progress import Column, Progress, View, mean_known
from mtrl.runs.stopwatch import Stopwatch

PARTS = ("critic", "actor")  # with a balancer each
_SAMPLED_EVERY = 10  # updates between two that enter the log's averages
_COUNTERS_S = 5.0  # between two looks at the counters in `status.json`
_REDRAW_S = 0.5


class Telemetry:
    """Writes `metrics.jsonl`, `timing.jsonl` and `status.json`, and feeds the live view.

    Args:
        run: takes the status.
        log: takes metrics and times.
        view: shows progress.
        schedule: read, never changed.
        performance: read, never changed.
        clock: the seconds of all parts are taken from it at each record of times.
        config: intervals.
        method: shown.
        num_workers: that collect.
    """

    def __init__(
        self,
        *,
        run: RunDirectory,
        log: MetricLog,
        view: View,
        schedule: Schedule,
        performance: PerformanceTracker,
        clock: Stopwatch,
        config: RunConfig,
        method: str,
        num_workers: int,
    ) -> None:
        self.run = run
        self.log = log
        self.view = view
        self.gramians = GramianLog(run.path, log.task_names, parts=PARTS)
        self.schedule = schedule
        self.performance = performance
        self.config = config
        self.method = method
        self.num_workers = num_workers
        self._clock = clock
        self._earlier_s = 0.0  # wall time of earlier parts of a resumed run
        self._lags: list[int] = []
        self._weights = [float("nan")] * len(log.task_names)
        self._rates = (0.0, 0.0)  # env steps and updates per second
        self._budget = self._bottleneck = "measuring"
        self._shown = self._beat = 0.0
        self.start()

    def start(self) -> None:
        """Measure rates and wall time from now on."""
        self._start = time.perf_counter()
        self._mark = (self._start, self.schedule.env_steps, self.schedule.updates)
        self._clock.take()

    @property
    def elapsed(self) -> float:
        """Seconds of the run, those before a resume included."""
        return self._earlier_s + time.perf_counter() - self._start

    def counters(self) -> dict[str, int]:
        """What every record carries."""
        return {
            "env_steps": self.schedule.env_steps,
            "updates": self.schedule.updates,
            "episodes": self.performance.episodes,
        }

    def state_dict(self) -> dict[str, Any]:
        """The log, and the wall time so far."""
        return {"log": self.log.state_dict(), "wall_s": self.elapsed}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict`; the schedule is restored before."""
        self.log.load_state_dict(state["log"])
        self._earlier_s = state["wall_s"]
        self.gramians.truncate(self.schedule.updates)

    def on_rollout(self, policy_version: int) -> None:
        """Take the version of the policy that a rollout was collected with; -1 is none."""
        if policy_version >= 0:
            self._lags.append(self.schedule.updates - policy_version)

    def on_update(self, update: Update, performance: Tensor, *, diagnosed: bool) -> None:
        """Take what an update found, and write a record when one is due.

        Args:
            update: a sample of all updates enters the averages, and all with diagnostics do.
            performance: `[m]`, which the methods have read.
            diagnosed: whether its Gramians are to be kept.
        """
        if diagnosed:
            self._add_gramians(update, performance)
        # Counted from the first update, so that those of a less frequent actor are met.
        if diagnosed or (self.schedule.updates - 1) % _SAMPLED_EVERY == 0:
            self.log.add(update.metrics)
        if self.schedule.updates % self.config.log_interval_updates == 0:
            self._write_metrics()

    def report(self, restarts: int) -> None:
        """Write times and redraw, each when due."""
        now = time.perf_counter()
        if now - self._beat > _COUNTERS_S:
            self._beat = now
            self.run.write_status("running", **self.counters())
        if now - self._mark[0] >= self.config.log_interval_s:
            self._write_timing(now, restarts)
        if now - self._shown > _REDRAW_S:
            self._shown = now
            self.view.update(self._progress())

    def _add_gramians(self, update: Update, performance: Tensor) -> None:
        for part, step in update.steps.items():
            if step.gramian is not None:
                self.gramians.add(
                    part,
                    self.schedule.updates,
                    self.schedule.env_steps,
                    step.gramian,
                    step.weights,
                    performance,
                )

    def _write_metrics(self) -> None:
        values: dict[str, Any] = {}
        for name, value in self.log.means().items():
            values[_log_name(*name.split("/", 1))] = value
        weights = values.get("balance/weight/critic")
        if isinstance(weights, list):
            self._weights = weights
        success = self.performance.success()
        values["charts/mean_success_rate"] = mean_known(success)
        values["charts/{task}_success_rate"] = success
        values["charts/{task}_return"] = self.performance.mean_returns()
        values["performance/success_rate"] = self.performance.rates()
        values["performance/standard_error"] = self.performance.standard_errors()
        values["performance/count"] = self.performance.counts()
        values["performance/age"] = self.performance.ages(self.schedule.env_steps)
        values["system/diverged_episodes"] = self.performance.diverged
        self.log.write(self.counters(), values)

    def _write_timing(self, now: float, restarts: int) -> None:
        then, env_steps, updates = self._mark
        span = now - then
        steps_done, updates_done = self.schedule.env_steps, self.schedule.updates
        self._rates = ((steps_done - env_steps) / span, (updates_done - updates) / span)
        shares = time_shares(self._clock.take(), span, self.num_workers)
        self._budget, self._bottleneck = budget_line(shares), bottleneck(shares)
        self.log.write_timing(
            self.counters(),
            {
                "charts/SPS": self._rates[0],
                "charts/UPS": self._rates[1],
                "wall_s": self.elapsed,
                "bottleneck": self._bottleneck,
                "system/policy_lag_updates": sum(self._lags) / max(1, len(self._lags)),
                "system/policy_lag_max": max(self._lags, default=0),
                "system/worker_restarts": restarts,
                **{f"time/{part}": share for part, share in shares.items()},
            },
        )
        self._lags = []
        self._mark = (now, steps_done, updates_done)

    def _progress(self) -> Progress:
        done, total = self.schedule.env_steps, self.schedule.total_env_steps
        return Progress(
            title=self.run.path.name,
            done=done / max(1, total),
            seconds=self.elapsed,
            seconds_left=(total - done) / self._rates[0] if self._rates[0] else None,
            tasks=self.log.task_names,
            columns=[
                Column("success", self.performance.success(), bar=True),
                Column("return", self.performance.mean_returns(), ".0f"),
                Column("weight", self._weights, ".3g"),
            ],
            facts={
                "env steps": f"{done:,} of {total:,}",
                "updates": f"{self.schedule.updates:,}",
                "env steps/s": f"{self._rates[0]:,.0f}",
                "updates/s": f"{self._rates[1]:,.1f}",
                "method": self.method,
                "time": self._budget,
                "bottleneck": self._bottleneck,
            },
        )


def _log_name(part: str, fact: str) -> str:
    """`critic/weights` of an update becomes `balance/weight/critic` in the log."""
    if fact == "losses":
        return f"losses/{part}"
    if fact in ("q", "entropy", "alpha"):
        return f"sac/{fact}"
    fact = {"weights": "weight", "clipped": "clip_rate"}.get(fact, fact)
    return f"balance/{fact}/{part}"
