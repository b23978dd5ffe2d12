"""A trained policy for use in other code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from mtrl.networks import Architecture
from mtrl.rl.acting.policy import build_actor
from mtrl.rl.config import NetworkConfig
from mtrl.runs import checkpoint
from mtrl.runs.directory import RunDirectory


class Policy:
    """A deterministic multi-task policy.

    Attributes:
        tasks: names, in the order of the network's heads.
    """

    def __init__(self, actor: Architecture, tasks: list[str]) -> None:
        self.actor = actor.requires_grad_(False).eval()
        self.tasks = tasks

    def act(self, obs: ArrayLike, task: int | str) -> NDArray[np.float32]:
        """The action for an observation of a task.

        Args:
            obs: `[obs_dim]` or `[b, obs_dim]`, as the environment of `mtrl.envs.make` gives it.
            task: its name or index.

        Returns:
            `[action_dim]` or `[b, action_dim]`, in [-1, 1].

        Raises:
            ValueError: a task that the policy was not trained on, or an observation of another size.
        """
        if isinstance(task, str):
            if task not in self.tasks:
                raise ValueError(f"The policy knows {', '.join(self.tasks)}. Found {task!r}.")
            task = self.tasks.index(task)
        elif not 0 <= task < len(self.tasks):
            raise ValueError(f"The policy has {len(self.tasks)} tasks. Found index {task}.")
        rows = np.atleast_2d(np.asarray(obs, np.float32))
        with torch.inference_mode():
            # Heads are indexed by position, so the rows go to their task's place in the batch.
            batch = torch.zeros(len(self.tasks), *rows.shape)
            batch[task] = torch.from_numpy(rows)
            mean = self.actor(batch)[0, task].chunk(2, dim=-1)[0]
            action = torch.tanh(mean).numpy()
        return action[0] if np.ndim(obs) == 1 else action


def load_policy(run: str | Path) -> Policy:
    """The policy of a run's newest valid checkpoint.

    >>> policy = mtrl.load_policy("runs/mt10-s0-20261122T101500Z")  # doctest: +SKIP
    >>> action = policy.act(obs, "reach-v3")  # doctest: +SKIP

    Raises:
        RunDirectoryError: no run there. CheckpointError: no valid checkpoint in it.
    """
    directory = RunDirectory.open(Path(run))
    _, state = checkpoint.load_latest(directory.checkpoints)
    return Policy(restore_actor(state), state["policy"]["tasks"])


def restore_actor(state: Mapping[str, Any]) -> Architecture:
    """The actor in a checkpoint's state; nothing else of it is built."""
    facts = state["policy"]
    networks = NetworkConfig(**facts["networks"])
    actor = build_actor(len(facts["tasks"]), facts["obs_dim"], facts["action_dim"], networks)
    actor.load_state_dict(state["agent"]["actor"])
    return actor
