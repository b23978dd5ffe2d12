"""Learners and batches of the size that benchmarks are asked for."""

from __future__ import annotations

import argparse

import torch

from mtrl.rl.config import BalancingConfig, NetworkConfig, SACConfig
from mtrl.rl.learning.replay import Batch
from mtrl.rl.learning.sac import MultiTaskSAC

OBS, ACTION = 39, 4


def agent(args: argparse.Namespace, method: str, **options: object) -> MultiTaskSAC:
    """A learner with a method's options.

    `args` has tasks, width, depth, layer_norm, batch and seed, and may have device and precision.
    """
    widths = [args.width] * args.depth
    return MultiTaskSAC(
        args.tasks,
        OBS,
        ACTION,
        networks=NetworkConfig(
            widths, widths, actor_layer_norm=args.layer_norm, critic_layer_norm=args.layer_norm
        ),
        sac=SACConfig(batch_size=args.batch),
        balancing=BalancingConfig(),
        method=method,
        method_options=options,
        device=getattr(args, "device", "cpu"),
        precision=getattr(args, "precision", "float32"),
        seed=args.seed,
    )


def random_batch(m: int, b: int, seed: int) -> Batch:
    """`[m, b, ...]`, discount 0.99."""
    rng = torch.Generator().manual_seed(seed)
    return Batch(
        obs=torch.randn(m, b, OBS, generator=rng),
        action=torch.rand(m, b, ACTION, generator=rng) * 2 - 1,
        reward=torch.rand(m, b, generator=rng),
        next_obs=torch.randn(m, b, OBS, generator=rng),
        discount=torch.full((m, b), 0.99),
    )
