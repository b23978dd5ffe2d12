"""What a training loop tells the world: logs, status, live view, where the time goes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from mtrl.rl.config import RunConfig
from mtrl.rl.performance import PerformanceTracker
from mtrl.rl.schedule import Schedule
from mtrl.rl.time_budget import bottleneck, budget_line, time_shares
from mtrl.runs.directory import RunDirectory
from mtrl.runs.gramian_log import GramianLog
from mtrl.runs.metric_log import MetricLog
from mtrl.runs.progress import Column, Progress, View, mean_known

PARTS = ("critic", "actor")  # with a balancer each
_SAMPLED_EVERY = 10  # updates between two that enter the log's averages
_COUNTERS_S = 5.0  # between two looks at the counters in `status.json`
_REDRAW_S = 0.5


class Telemetry:
    """Writes `metrics.jsonl`, `timing.jsonl` and `status.json`, and feeds the live view.

    Args:
        run, log, view: where things go.
        schedule, performance: read, never changed.
        config: intervals.
        method: shown.
        num_workers: that collect.

    Attributes:
        counts: episodes, diverged episodes and network resets so far.
        wall_s: wall time of earlier parts of a resumed run.
    """

    def __init__(
        self,
        *,
        run: RunDirectory,
        log: MetricLog,
        view: View,
        schedule: Schedule,
        performance: PerformanceTracker,
        config: RunConfig,
        method: str,
        num_workers: int,
    ) -> None:
        self.run, self.log, self.view = run, log, view
        self.gramians = GramianLog(run.path, log.task_names, parts=PARTS)
        self.schedule, self.performance = schedule, performance
        self.config, self.method, self.num_workers = config, method, num_workers
        self.counts = {"episodes": 0, "diverged": 0, "resets": 0}
        self.wall_s = 0.0
        self._seconds: dict[str, float] = {}
        self._lags: list[int] = []
        self._weights = [float("nan")] * len(log.task_names)
        self._rates = (0.0, 0.0)  # env steps and updates per second
        self._budget = self._bottleneck = "measuring"
        self._shown = self._beat = 0.0
        self.start()

    def start(self) -> None:
        """The clocks begin now."""
        self._start = time.perf_counter()
        self._mark = (self._start, self.schedule.env_steps, self.schedule.updates)

    @property
    def elapsed(self) -> float:
        """Seconds of the run, those before a resume included."""
        return self.wall_s + time.perf_counter() - self._start

    def counters(self) -> dict[str, int]:
        """What every record carries."""
        return {
            "env_steps": self.schedule.env_steps,
            "updates": self.schedule.updates,
            "episodes": self.counts["episodes"],
        }

    @contextlib.contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Count the wall time of a part of the loop."""
        start = time.perf_counter()
        yield
        self.add_seconds(part, time.perf_counter() - start)

    def add_seconds(self, part: str, seconds: float) -> None:
        """Count time that was measured elsewhere."""
        self._seconds[part] = self._seconds.get(part, 0.0) + seconds

    def lagged(self, updates: int) -> None:
        """A rollout came in whose policy is so many updates old."""
        self._lags.append(updates)

    def learned(self, metrics: Mapping[str, Tensor], *, recorded: bool) -> None:
        """Take the metrics of an update; those of a recorded one always. Write when one is due."""
        # Counted from the first update, so that those of a less frequent actor are met.
        if recorded or (self.schedule.updates - 1) % _SAMPLED_EVERY == 0:
            self.log.add(metrics)
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

    def _write_metrics(self) -> None:
        values: dict[str, Any] = {}
        for name, value in self.log.means().items():
            key = _log_name(*name.split("/", 1)) if "/" in name else None
            if key is not None:
                values[key] = value
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
        values["system/diverged_episodes"] = self.counts["diverged"]
        self.log.write(self.counters(), values)

    def _write_timing(self, now: float, restarts: int) -> None:
        then, env_steps, updates = self._mark
        span = now - then
        steps_done, updates_done = self.schedule.env_steps, self.schedule.updates
        self._rates = ((steps_done - env_steps) / span, (updates_done - updates) / span)
        shares = time_shares(self._seconds, span, self.num_workers)
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
        self._seconds, self._lags = {}, []
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


def _log_name(part: str, fact: str) -> str | None:
    """`critic/weights` of an update becomes `balance/weight/critic` in the log."""
    if fact == "finite":
        return None
    if fact == "losses":
        return f"losses/{part}"
    if fact in ("q", "entropy", "alpha"):
        return f"sac/{fact}"
    fact = {"weights": "weight", "clipped": "clip_rate"}.get(fact, fact)
    return f"balance/{fact}/{part}"
