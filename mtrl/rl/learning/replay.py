"""Replay: a preallocated ring per task, on the learner's device."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mtrl.rl.acting.fragment import Fragment
from mtrl.runs.device import upload


class Batch(NamedTuple):
    """Task-major transitions: row i belongs to task i.

    Attributes:
        obs, next_obs: `[m, b, obs_dim]`.
        action: `[m, b, action_dim]`.
        reward: `[m, b]`, the discounted sum of up to `n_step` rewards.
        discount: `[m, b]`, what the value of `next_obs` is multiplied by; 0 if terminal.
    """

    obs: Tensor
    action: Tensor
    reward: Tensor
    next_obs: Tensor
    discount: Tensor


class Replay:
    """A ring of transitions for each task, `[m, capacity, ...]` float32.

    Transitions are stored ready to learn from: the n-step return is formed when a fragment arrives,
    inside the fragment; its last steps bootstrap from fewer rewards. Time limits bootstrap, terminal
    steps do not.

    Args:
        num_tasks: m.
        capacity: transitions per task.
        obs_dim, action_dim: sizes.
        discount: per environment step.
        n_step: rewards per transition.
        device: where the rings live and are sampled.
        seed: of sampling.
    """

    def __init__(
        self,
        num_tasks: int,
        capacity: int,
        obs_dim: int,
        action_dim: int,
        *,
        discount: float,
        n_step: int = 1,
        device: torch.device | str = "cpu",
        seed: int = 0,
    ) -> None:
        self.num_tasks = num_tasks
        self.capacity = capacity
        self.gamma = discount
        self.n_step = n_step
        self.device = torch.device(device)

        def ring(*shape: int) -> Tensor:
            return torch.zeros(num_tasks, capacity, *shape, device=self.device)

        self.rings = Batch(ring(obs_dim), ring(action_dim), ring(), ring(obs_dim), ring())
        self.added = np.zeros(num_tasks, np.int64)  # ever, per task; the cursor is added % capacity
        self.generator = torch.Generator(self.device).manual_seed(seed)
        # What sampling reads lies on the device and is changed in place: see `cuda_graphs`.
        self._rows = torch.arange(num_tasks, device=self.device)[:, None]
        self._held = torch.zeros(num_tasks, 1, dtype=torch.float64, device=self.device)

    @property
    def sizes(self) -> np.ndarray:
        """Transitions held, per task."""
        return np.minimum(self.added, self.capacity)

    def add(self, fragment: Fragment) -> None:
        """Store the transitions of a fragment, over the oldest of its task.

        Raises:
            ValueError: shapes that do not fit, or numbers that are not finite.
        """
        steps = len(fragment)
        if steps == 0:
            return
        _check(fragment, self.rings)
        reward, bootstrap, successor = self._n_step(fragment)
        # Copies: an array that came through Ray is read-only.
        columns = Batch(
            torch.tensor(fragment.obs[:-1]),
            torch.tensor(fragment.action),
            torch.tensor(reward),
            torch.tensor(fragment.obs[successor]),
            torch.tensor(bootstrap),
        )
        start = int(self.added[fragment.task])
        slots = torch.arange(start, start + steps, device=self.device) % self.capacity
        keep = min(steps, self.capacity)  # a fragment longer than the ring leaves its newest steps
        for ring, column in zip(self.rings, columns, strict=True):
            ring[fragment.task, slots[-keep:]] = upload(column[-keep:], self.device)
        self.added[fragment.task] += steps
        self._held[fragment.task].fill_(float(self.sizes[fragment.task]))

    def sample(self, batch_size: int) -> Batch:
        """Draw `batch_size` transitions of each task, uniformly and independently, `[m, b, ...]`.

        Raises:
            ValueError: a task has none.
        """
        self._check_filled()
        uniform = torch.rand(
            self.num_tasks,
            batch_size,
            generator=self.generator,
            device=self.device,
            dtype=torch.float64,
        )
        index = (uniform * self._held).long()
        return Batch(*(ring[self._rows, index] for ring in self.rings))

    def reward_means(self) -> Tensor:
        """Mean stored reward of each task, `[m]`.

        Raises:
            ValueError: a task has no transition.
        """
        self._check_filled()
        sizes = self.sizes
        means = [self.rings.reward[i, : sizes[i]].mean() for i in range(self.num_tasks)]
        return torch.stack(means)

    def state_dict(self) -> dict[str, Any]:
        """The filled part of the rings, the cursors and the generator's state."""
        filled = int(self.sizes.max())
        return {
            "rings": {name: ring[:, :filled] for name, ring in self.rings._asdict().items()},
            "added": self.added.tolist(),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore :meth:`state_dict`.

        Raises:
            ValueError: the state was saved with another capacity or other tasks.
        """
        for name, ring in self.rings._asdict().items():
            saved = state["rings"][name]
            if saved.shape[0] != self.num_tasks or saved.shape[1] > self.capacity:
                raise ValueError(
                    f"Replay should hold {self.num_tasks} tasks x {self.capacity} transitions. Found"
                    f" a saved ring of {tuple(saved.shape[:2])}. Resume with the run's own config."
                )
            ring[:, : saved.shape[1]] = saved.to(self.device)
        self.added = np.array(state["added"], np.int64)
        self._held.copy_(torch.from_numpy(self.sizes.astype(np.float64))[:, None])
        self.generator.set_state(state["generator"])

    def _check_filled(self) -> None:
        if not self.added.all():
            raise ValueError(
                f"Every task should have transitions. Found none of task {int(self.added.argmin())}."
                " Add a fragment of it before sampling."
            )

    def _n_step(self, fragment: Fragment) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns, bootstrap discounts and indices of the successors, for each step."""
        steps = len(fragment)
        reward = fragment.reward.astype(np.float64)
        total = reward.copy()
        for k in range(1, min(self.n_step, steps)):
            total[:-k] += self.gamma**k * reward[k:]
        span = np.minimum(self.n_step, steps - np.arange(steps))
        successor = np.arange(steps) + span
        bootstrap = self.gamma**span
        if fragment.terminated:
            bootstrap = np.where(successor == steps, 0.0, bootstrap)
        return total.astype(np.float32), bootstrap.astype(np.float32), successor


def _check(fragment: Fragment, rings: Batch) -> None:
    steps = len(fragment)
    expected = (steps + 1, rings.obs.shape[-1]), (steps, rings.action.shape[-1])
    found = fragment.obs.shape, fragment.action.shape
    if found != expected:
        raise ValueError(
            f"A fragment of {steps} steps should have obs {expected[0]} and action {expected[1]}."
            f" Found {found[0]} and {found[1]}."
        )
    if not (np.isfinite(fragment.obs).all() and np.isfinite(fragment.reward).all()):
        raise ValueError(
            f"A fragment of task {fragment.task} holds numbers that are not finite. The environment"
            " should have ended that episode as diverged."
        )
    if not np.isfinite(fragment.action).all():
        raise ValueError(
            f"A fragment of task {fragment.task} holds actions that are not finite. The policy that"
            " acted has weights that are not finite: start from an earlier checkpoint."
        )
