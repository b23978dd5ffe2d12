"""Learners, batches and networks of the size that benches are asked for."""

from __future__ import annotations

from typing import Any

import torch

from mtrl.bench.bench_options import LearnerOnCPU, LearnerOptions
from mtrl.rl.config import BalancingConfig, NetworkConfig, SACConfig
from mtrl.rl.learning.replay import Batch
from mtrl.rl.learning.sac import MultiTaskSAC
from mtrl.runs.malloc import keep_freed_memory

OBS, ACTION = 39, 4
"""Sizes of Meta-World's observations and actions."""


def like_a_training(options: LearnerOnCPU) -> None:
    """One thread, and freed memory kept as a training keeps it, unless the options say otherwise."""
    torch.set_num_threads(1)
    if not options.fresh_memory:
        keep_freed_memory()


def make_learner(
    options: LearnerOptions,
    method: str,
    *,
    device: str = "cpu",
    precision: str = "float32",
    **method_options: Any,
) -> MultiTaskSAC:
    """A learner of random weights that balances with a method."""
    return MultiTaskSAC(
        options.tasks,
        OBS,
        ACTION,
        networks=NetworkConfig(
            options.widths,
            options.widths,
            actor_layer_norm=options.layer_norm,
            critic_layer_norm=options.layer_norm,
        ),
        sac=SACConfig(batch_size=options.batch),
        balancing=BalancingConfig(),
        method=method,
        method_options=method_options,
        device=device,
        precision=precision,
        seed=options.seed,
    )


def random_batch(m: int, b: int, seed: int) -> Batch:
    """Random transitions `[m, b, ...]` with discount 0.99."""
    rng = torch.Generator().manual_seed(seed)
    return Batch(
        obs=torch.randn(m, b, OBS, generator=rng),
        action=torch.rand(m, b, ACTION, generator=rng) * 2 - 1,
        reward=torch.rand(m, b, generator=rng),
        next_obs=torch.randn(m, b, OBS, generator=rng),
        discount=torch.full((m, b), 0.99),
    )
