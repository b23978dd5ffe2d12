"""Measure environment steps and updates per second of a training, for some time after its warm-up.

The bench trains as `mtrl train` does, in a temporary folder, and reads the run's own `timing.jsonl`:
rates, shares of the wall time, bottleneck and policy lag between the first record with updates and the
last. Figures are wall time: other load on the machine counts.

    mtrl bench train                                        the quick preset for a minute
    mtrl bench train --seconds 60 -c mt10/reference method=pivrg
    mtrl bench train --seconds 5 -c fake schedule.total_env_steps=1000000
"""

from __future__ import annotations

import dataclasses
import signal
import statistics
import tempfile
import threading
from pathlib import Path
from typing import Any

from mtrl.bench.bench_options import BenchError, option
from mtrl.bench.text_table import text_table
from mtrl.config import resolve
from mtrl.jobs import rl as job
from mtrl.jobs.config import TrainConfig
from mtrl.jobs.rl_checks import check_training
from mtrl.runs.directory import RunDirectory
from mtrl.runs.interrupt import Interrupt
from mtrl.runs.metric_log import read_jsonl
from mtrl.runs.progress import make_view

QUIET = [
    "run.log_interval_s=1",
    "run.tensorboard=false",
    "run.checkpoint_interval_env_steps=0",
    "run.checkpoint_interval_s=0",
    "evaluation.interval_env_steps=0",
    "evaluation.final=false",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Options of `mtrl bench train`."""

    config: list[str] | None = option(
        None, "file or preset; mt10/quick if none", flags=["-c"], action="append"
    )
    seconds: float = option(60.0, "to measure after the warm-up")
    overrides: list[str] = option(
        (), "values of the configuration", positional=True, nargs="*", metavar="key=value"
    )


def measure(options: Options) -> dict[str, Any]:
    """Rates and shares of the wall time."""
    files = options.config or ["mt10/quick"]
    resolved = resolve(TrainConfig, files, [*options.overrides, *QUIET])
    check_training(resolved.config)
    with tempfile.TemporaryDirectory() as folder, Interrupt() as interrupt:
        run = RunDirectory.create(Path(folder), "bench", resolved.config.seed, resolved.to_yaml())
        done, view = threading.Event(), make_view()
        watch = threading.Thread(target=stop_after, args=(run, options.seconds, interrupt, done))
        watch.start()
        try:
            job.train(resolved.config, run, view, interrupt)
        finally:
            done.set()
            watch.join()
            view.close()
            run.release()
        return rates(measured(run))


def show(result: dict[str, Any]) -> str:
    """A row per figure."""
    return text_table({"fact": key, "value": value} for key, value in result.items())


def measured(run: RunDirectory) -> list[dict[str, Any]]:
    """The records of `timing.jsonl` since the first one with updates."""
    path = run.path / "timing.jsonl"
    records = read_jsonl(path) if path.exists() else []
    return [record for record in records if record["updates"] > 0]


def stop_after(
    run: RunDirectory, seconds: float, interrupt: Interrupt, done: threading.Event
) -> None:
    """Ask the run to stop once its records span so many seconds."""
    while not done.wait(0.5):
        records = measured(run)
        if records and records[-1]["wall_s"] - records[0]["wall_s"] >= seconds:
            interrupt.signal = signal.SIGTERM
            return


def rates(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Rates over all records but the first, which still contains warm-up.

    Raises:
        BenchError: there is one record only.
    """
    if len(records) < 2:
        raise BenchError(
            f"The training should write two records with updates. Found {len(records)}. Give it more"
            " steps: schedule.total_env_steps=1000000."
        )
    first, last = records[0], records[-1]
    span = last["wall_s"] - first["wall_s"]
    shares = sorted({key for record in records[1:] for key in record if key.startswith("time/")})
    return {
        "seconds": span,
        "env steps/s": (last["env_steps"] - first["env_steps"]) / span,
        "updates/s": (last["updates"] - first["updates"]) / span,
        "policy lag": statistics.fmean(r["system/policy_lag_updates"] for r in records[1:]),
        "bottleneck": last["bottleneck"],
        **{key: statistics.fmean(r.get(key, 0.0) for r in records[1:]) for key in shares},
    }
