"""Time a learner's update on a GPU: call by call, and captured as CUDA graphs and replayed.

An update is everything from drawing the batch to the target networks. If a method can be captured
whole, its replayed updates run under `torch.cuda.set_sync_debug_mode("error")`, so that the first copy
from the device to the host ends the run. Rounds of updates take turns. Milliseconds are wall time per
update, after the device is done. `difference` is the largest deviation between the critics on GPU and
CPU after ten updates from the same state and batch without noise, relative to the largest weight.

    mtrl bench gpu
    mtrl bench gpu --precision tf32 --width 1024
    mtrl bench gpu --device cpu             the same calls without a GPU; nothing is captured
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any, Literal

import torch

from mtrl.bench.bench_options import BenchError, LearnerOptions, option
from mtrl.bench.fixtures import ACTION, OBS, make_learner, random_batch
from mtrl.bench.text_table import text_table
from mtrl.bench.timing import lower_quartile, paired_ratio
from mtrl.rl.learning.learner import Learner, cuda_graph_pools
from mtrl.rl.learning.replay import Replay
from mtrl.rl.learning.sac import MultiTaskSAC
from mtrl.runs.device import set_precision

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "ls": ("ls", {}),
    "pivrg, device": ("pivrg", {"solver": "device"}),
    "pivrg": ("pivrg", {}),
    "pcgrad": ("pcgrad", {}),
}
CAPACITY = 1024  # of the replay, per task


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(LearnerOptions):
    """Options of `mtrl bench gpu`."""

    device: Literal["cuda", "cpu"] = option("cuda", "where the learner computes")
    precision: Literal["float32", "tf32", "bf16"] = option("float32", "of products")
    updates: int = option(200, "in a turn")
    rounds: int = option(10, "in which methods take turns")


def measure(options: Options) -> dict[str, Any]:
    """A record per method and way, and the difference from the CPU.

    Raises:
        BenchError: torch finds no GPU.
    """
    if options.device == "cuda" and not torch.cuda.is_available():
        raise BenchError("torch finds no GPU. `--device cpu` runs the same calls without one.")
    set_precision(options.precision)
    return {
        "gpu": torch.cuda.get_device_name() if options.device == "cuda" else "none",
        "methods": time_methods(options),
        "difference": largest_difference(options),
    }


def show(result: dict[str, Any]) -> str:
    """A row per method and way."""
    difference = f"largest difference from the CPU {result['difference']:.1e}"
    return f"{text_table(result['methods'])}\n{difference}"


def time_methods(options: Options) -> list[dict[str, Any]]:
    """A record per method and way."""
    on_gpu = options.device == "cuda"
    ways = ["call by call", "captured"] if on_gpu else ["call by call"]
    learners = {
        (label, way): full_learner(options, label, captured=way == "captured")
        for label in METHODS
        for way in ways
    }
    times: dict[tuple[str, str], list[float]] = {key: [] for key in learners}
    for turn in range(options.rounds + 1):
        for key, learner in learners.items():
            whole = all(b.method.capturable for b in learner.agent.balancers.values())
            if turn and learner.captured and whole:
                torch.cuda.set_sync_debug_mode("error")
            spent = milliseconds(lambda learner=learner: learner.update(0), options.updates, on_gpu)
            if on_gpu:
                torch.cuda.set_sync_debug_mode("default")
            if turn:  # the first round warms up and captures
                times[key].append(spent)
    return [
        {
            "method": label,
            "way": way,
            "ms": lower_quartile(values),
            "method/ls": paired_ratio(values, times["ls", way]),
            "call by call/this": paired_ratio(times[label, "call by call"], values),
        }
        for (label, way), values in times.items()
    ]


def full_learner(options: Options, label: str, *, captured: bool) -> Learner:
    """A learner and a replay full of random transitions."""
    method, method_options = METHODS[label]
    where = {"device": options.device, "precision": options.precision}
    agent = make_learner(options, method, **where, **method_options)
    batch = random_batch(options.tasks, CAPACITY, options.seed)
    replay = Replay(options.tasks, CAPACITY, OBS, ACTION, discount=0.99, device=agent.device)
    replay.load_state_dict(
        {
            "rings": batch._asdict(),
            "added": [CAPACITY] * options.tasks,
            "generator": replay.generator.get_state(),
        }
    )
    new_pool = cuda_graph_pools(agent, replay) if captured else None
    learner = Learner(agent, replay, new_pool=new_pool)
    learner.set_performance(torch.linspace(0, 1, options.tasks))
    return learner


def milliseconds(step: Callable[[], Any], count: int, on_gpu: bool) -> float:
    """Wall time per call, after the device is done."""
    start = time.perf_counter()
    for _ in range(count):
        step()
    if on_gpu:
        torch.cuda.synchronize()
    return 1e3 * (time.perf_counter() - start) / count


def largest_difference(options: Options) -> float:
    """Between the critics of the device and of the CPU after ten updates."""
    batch = random_batch(options.tasks, options.batch, options.seed)
    performance = torch.linspace(0, 1, options.tasks)
    critics = []
    for device in (options.device, "cpu"):
        where = {"device": device, "precision": options.precision}
        agent = make_learner(options, "pivrg", **where, solver="device")
        agent._noise = _silent(agent)  # type: ignore[method-assign]  # generators of two devices draw different numbers
        moved = type(batch)(*(part.to(device) for part in batch))
        for _ in range(10):
            agent.update(moved, performance.to(device))
        critics.append([p.detach().cpu() for p in agent.critic.parameters()])
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in zip(*critics, strict=True))


def _silent(agent: MultiTaskSAC) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda obs: torch.zeros(*obs.shape[:-1], ACTION, device=agent.device)
