"""Small things that several tests build."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from mtrl.rl.acting.fragment import Episode, Fragment
from mtrl.rl.config import BalancingConfig, NetworkConfig, SACConfig
from mtrl.rl.learning.replay import Batch
from mtrl.rl.learning.sac import MultiTaskSAC

NETWORKS = NetworkConfig(actor=[16, 16], critic=[16, 16], critic_layer_norm=True)


def make_agent(
    method: str = "ls",
    *,
    num_tasks: int = 3,
    seed: int = 0,
    sac: SACConfig | None = None,
    **options,
) -> MultiTaskSAC:
    return MultiTaskSAC(
        num_tasks,
        4,
        2,
        networks=NETWORKS,
        sac=sac or SACConfig(batch_size=8),
        balancing=BalancingConfig(),
        method=method,
        method_options=options or ({"weights": [0.5, 1.0, 1.5]} if method == "fixed" else {}),
        seed=seed,
    )


def make_batch(num_tasks: int = 3, size: int = 8, seed: int = 0) -> Batch:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(num_tasks, size, *shape, generator=generator)

    return Batch(draw(4), draw(2).tanh(), draw(), draw(4), torch.full((num_tasks, size), 0.99))


def make_fragment(
    steps: int, *, task: int = 0, start: float = 0.0, terminated: bool = False, ended: bool = False
) -> Fragment:
    """A fragment whose numbers say where they come from: obs row t is `start + t`, reward `t`."""
    obs = (start + np.arange(steps + 1, dtype=np.float32))[:, None] * np.ones(4, np.float32)
    action = np.zeros((steps, 2), np.float32)
    episode = Episode(True, 1.0, steps) if ended or terminated else None
    reward = np.arange(steps, dtype=np.float32)
    return Fragment(task, obs, action, reward, terminated, episode)


def mtrl(
    *arguments: str, cwd: Path | None = None, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run the command as a user would."""
    command = [sys.executable, "-m", "mtrl", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=timeout)
