"""Run metaworld-algorithms side by side with mtrl on this machine: whole updates, and collection.

The peer is a JAX code base with multi-task SAC and PCGrad for Meta-World. It runs in its own Python, one
process for the updates and one for collection. Each does a turn when asked and waits while others have
theirs. The order of the turns alternates. One round before the first one counted compiles and warms up.

Updates (MT10, 128 transitions per task, 3x400, a head per task, float32, twin critics) share one core:
its MTSAC against our `ls`, its PCGrad against our `pcgrad`. CPU time is that of all threads of the
process. Collection has all cores: its loop (AsyncVectorEnv with a process per task; the policy samples,
the environments step) against our Ray workers, in wall time. The figures are 25 % quantiles of times,
medians of rates, and medians of the ratios within a round.

    mtrl bench peers --peer PEER
    mtrl bench peers --peer PEER --parts learner

PEER is a checkout with the peer's environment in its folder `.venv`; without `--peer` the command says
how to make one. Beside other jobs, set RAY_worker_niceness=0: Ray gives its workers a niceness of 15,
and the peer has none.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from mtrl.bench.bench_options import BenchError, LearnerOptions, LearnerSize, option
from mtrl.bench.fixtures import make_learner, random_batch
from mtrl.bench.peers.peer_process import Peer
from mtrl.bench.ray_workers import CHUNK, plural, ray_workers, steps_per_second
from mtrl.bench.text_table import text_table
from mtrl.bench.timing import lower_quartile, paired_ratio, process_seconds, take_turns
from mtrl.envs import load_tasks
from mtrl.envs.config import EnvConfig
from mtrl.rl.config import NetworkConfig
from mtrl.runs.malloc import keep_freed_memory

RUNNER = Path(__file__).with_name("run_metaworld_algorithms.py")
FACTOR = "factor in mtrl's favour"
METHODS = {"ls": "plain sum", "pcgrad": "PCGrad"}
TASKS = 10  # the peer's examples have MT10
INSTALL = """\
`mtrl bench peers` needs `--peer PEER`, a checkout of the peer with its environment. Install it:

    git clone https://github.com/rainx0r/metaworld-algorithms PEER
    git -C PEER checkout 30c9991f5e1e6e119d3f98266add3828390a038e
    cd PEER && uv sync --frozen --extra cpu          # Python 3.12, the versions of its lock file

or without uv, and with Meta-World from PyPI (the locked commit but for one renamed constant):

    python3.12 -m venv PEER/.venv
    PEER/.venv/bin/pip install jax==0.10.0 jaxlib==0.10.0 flax==0.10.6 optax==0.2.4 distrax==0.1.8 \\
        chex==0.1.91 tfp-nightly==0.26.0.dev20260519 orbax-checkpoint==0.11.40 numpy==2.2.5 \\
        scipy==1.15.3 gymnasium==1.1.1 mujoco==3.3.0 metaworld==3.1.1 jaxtyping==0.3.2 tyro==0.9.20 \\
        wandb==0.27.0"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(LearnerSize):
    """Options of `mtrl bench peers`."""

    peer: Path | None = option(None, "checkout of the peer, with its environment in .venv")
    parts: tuple[str, ...] = option(("learner", "collection"), "to compare")
    updates: int = option(2, "in a turn")
    rounds: int = option(12, "of updates")
    workers: tuple[int, ...] = option((1, 2), "numbers of workers")
    steps: int = option(500, "of each environment in a turn")
    turns: int = option(5, "of collection")


def measure(options: Options) -> dict[str, Any]:
    """Rows of the comparison, and what the peer says about itself.

    Raises:
        BenchError: no peer is named, or an option has no meaning.
    """
    if options.peer is None:
        raise BenchError(INSTALL)
    compare = {"learner": compare_updates, "collection": compare_collection}
    if unknown := set(options.parts) - set(compare):
        raise BenchError(f"`--parts` should name learner, collection or both. Found {unknown}.")
    if options.steps % CHUNK:
        raise BenchError(f"`--steps` should be a multiple of {CHUNK}. Found {options.steps}.")
    torch.set_num_threads(1)
    keep_freed_memory()  # as a training does
    cores = os.sched_getaffinity(0)
    rows: list[dict[str, Any]] = []
    about: dict[str, Any] = {}
    for part, run in compare.items():
        if part in options.parts:
            found, said = run(options, options.peer, cores)
            rows += found
            about |= said
    return {"peer": about, "comparison": rows}


def show(result: dict[str, Any]) -> str:
    """A row per figure that is compared."""
    return text_table(result["comparison"])


def compare_updates(
    options: Options, folder: Path, cores: set[int]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows on whole updates and what the peer says about itself; all on one core."""
    size = {name: getattr(options, name) for name in ("width", "depth", "batch", "seed")}
    ours = LearnerOptions(tasks=TASKS, **size)
    batch = random_batch(TASKS, options.batch, options.seed)
    learners = {method: make_learner(ours, method) for method in METHODS}
    one = {min(cores)}
    os.sched_setaffinity(0, one)
    try:
        with start_peer(options, folder, one) as peer:
            turns: dict[str, Callable[[], dict[str, float]]] = {}
            for method, learner in learners.items():
                run = functools.partial(learner.update, batch)
                turns[f"{method} ours"] = functools.partial(process_seconds, run, options.updates)
                turns[f"{method} peer"] = functools.partial(
                    peer.ask, "update", method=method, updates=options.updates
                )
            spent = take_turns(turns, options.rounds)
            about = peer.ask("about")
    finally:
        os.sched_setaffinity(0, cores)
    about["parameters of ours"] = {
        f"{part}_num_params": sum(p.numel() for p in getattr(learners["ls"], part).parameters())
        for part in ("actor", "critic")
    }
    rows = []
    for method, title in METHODS.items():
        for clock in ("cpu", "wall"):
            mine, theirs = (
                [1e3 * turn[clock] / options.updates for turn in spent[f"{method} {side}"]]
                for side in ("ours", "peer")
            )
            row = _row(f"update, {title}, {clock} ms", lower_quartile(mine), lower_quartile(theirs))
            rows.append(row | {FACTOR: paired_ratio(theirs, mine)})
    return rows, about


def compare_collection(
    options: Options, folder: Path, cores: set[int]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows on collection and what the peer says about itself; on all cores."""
    tasks = load_tasks(EnvConfig(tasks="mt10"))
    networks = NetworkConfig(options.widths, options.widths)
    workers = ray_workers(tasks, networks, max(options.workers), options.seed)
    with start_peer(options, folder, cores) as peer, workers as collector:

        def theirs() -> float:
            spent = peer.ask("collect", steps=options.steps)
            return options.steps * TASKS / spent["wall"]

        turns: dict[str, Callable[[], float]] = {
            f"env steps/s, {plural(count)}": functools.partial(
                steps_per_second, collector, count, options.steps, TASKS
            )
            for count in options.workers
        }
        rates = take_turns({**turns, "peer": theirs}, options.turns)
        about = peer.ask("about")
    rows = [
        _row(what, statistics.median(rates[what]), statistics.median(rates["peer"]))
        | {FACTOR: paired_ratio(rates[what], rates["peer"])}
        for what in turns
    ]
    return rows, about


def start_peer(options: Options, folder: Path, cores: set[int]) -> Peer:
    """The peer's runner in the environment of its checkout."""
    sizes = {name: getattr(options, name) for name in ("width", "depth", "batch", "seed")}
    arguments = [text for name, size in sizes.items() for text in (f"--{name}", str(size))]
    python = folder / ".venv" / "bin" / "python"
    return Peer([str(python), str(RUNNER), *arguments], folder, cores)


def _row(what: str, ours: float, peer: float) -> dict[str, Any]:
    return {"what": what, "mtrl": ours, "metaworld-algorithms": peer}
