"""Time a whole SAC update of balancing methods against the plain sum's (`ls`).

An update is targets, critics, actor, temperatures, task gradients, weight solve, three optimiser steps
and target networks, on one thread. The learners take turns on the same batch. `--published` adds PIVRG
as released code does it: m backward passes and scipy's least squares. The figures are 25 % quantiles of
CPU time and medians of the ratios within a round. `--count-ops` counts the aten operations of an update
that are not views, which is roughly the number of kernel launches on a GPU.

    mtrl bench update
    mtrl bench update --count-ops --published
    mtrl bench update --methods pivrg --tasks 50 --batch 32
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mtrl.bench.bench_options import LearnerOnCPU, option
from mtrl.bench.fixtures import like_a_training, make_learner, random_batch
from mtrl.bench.text_table import text_table
from mtrl.bench.timing import interleave, lower_quartile, paired_ratio
from mtrl.rl.learning.sac import MultiTaskSAC

PUBLISHED = "pivrg, m backward, scipy"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(LearnerOnCPU):
    """Options of `mtrl bench update`."""

    methods: tuple[str, ...] = option(("pivrg", "nash_mtl"), "beside the plain sum")
    published: bool = option(False, "also time PIVRG as released code does it")
    count_ops: bool = option(False, "count the operations of an update, too")


def measure(options: Options) -> dict[str, Any]:
    """A record per method."""
    like_a_training(options)
    batch = random_batch(options.tasks, options.batch, options.seed)
    performance = torch.linspace(0, 1, options.tasks)
    calls = {
        name: lambda learner=learner: learner.update(batch, performance)
        for name, learner in learners(options).items()
    }
    times = interleave(calls, options.rounds)
    records = []
    for name, values in times.items():
        record: dict[str, Any] = {
            "method": name,
            "ms": 1e3 * lower_quartile(values),
            "method/ls": paired_ratio(values, times["ls"]),
        }
        if options.count_ops:
            with CountOps() as ops:
                calls[name]()
            record["ops"] = ops.count
        records.append(record)
    return {"methods": records}


def show(result: dict[str, Any]) -> str:
    """A row per method."""
    return text_table(result["methods"])


def learners(options: Options) -> dict[str, MultiTaskSAC]:
    """One per method, the plain sum first."""
    built = {name: make_learner(options, name) for name in ("ls", *options.methods)}
    if options.published:
        built[PUBLISHED] = make_learner(options, "pivrg", solver="scipy")
        for balancer in built[PUBLISHED].balancers.values():
            balancer.mode = "loop"
    return built


class CountOps(TorchDispatchMode):
    """Counts the aten operations that are not views."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self.count += func.namespace == "aten" and not func.is_view
        return func(*args, **(kwargs or {}))
