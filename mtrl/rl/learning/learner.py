"""The learner's step: sample a batch, update, watch for NaN; on a GPU captured, then replayed."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mtrl.balancing import Performance
from mtrl.rl.learning.cuda_graphs import CapturedStep, CudaGraphPool, GraphPool
from mtrl.rl.learning.replay import Batch, Replay
from mtrl.rl.learning.sac import MultiTaskSAC, Update
from mtrl.runs.nan_guard import NonFiniteGuard
from mtrl.runs.stopwatch import Stopwatch

_WARM_UP = 2  # updates of a form before its capture: libraries and optimisers set themselves up


class Learner:
    """Draws batches from the replay and updates the agent with them.

    There are two forms of updates: with the actor and without. With `new_pool`, each form is captured
    after its first updates and then replayed. Updates with diagnostics run call by call in between, on
    the same state. The numbers are the same either way.

    Args:
        agent: changed by every update.
        replay: sampled by every update.
        baseline: `[m]` single-task success rates that performance is compared with; None is 1.
        new_pool: makes the memory of a captured step; None runs every update call by call.
        clock: counts `sampling` and `replayed`.

    Attributes:
        performance: what performance-informed methods read, `[m]`, NaN where unknown.
    """

    def __init__(
        self,
        agent: MultiTaskSAC,
        replay: Replay,
        *,
        baseline: Sequence[float] | None = None,
        new_pool: Callable[[], GraphPool] | None = None,
        clock: Stopwatch | None = None,
    ) -> None:
        self.agent = agent
        self.replay = replay
        self.guard = NonFiniteGuard(agent.device)
        self.performance = torch.full((replay.num_tasks,), torch.nan, device=agent.device)
        self._baseline: Tensor | float = 1.0
        if baseline is not None:
            self._baseline = torch.tensor(baseline, dtype=torch.float32, device=agent.device)
        self._new_pool = new_pool
        self._clock = clock or Stopwatch()
        self.forget()

    def update(self, number: int, *, diagnose: bool = False) -> tuple[Update, Batch]:
        """One update.

        Args:
            number: of updates before this one; it decides whether the actor is updated too.
            diagnose: see `MultiTaskSAC.update`.

        Returns:
            What the update found, and its batch. The next update may overwrite the tensors of both.
        """
        actor = self.agent.actor_due(number)
        captured = self._captured.get(actor)
        if captured is not None and not diagnose:
            with self._clock("replayed"):
                return captured.replay()
        if self._new_pool is None or diagnose or self._warm_up_left[actor] > 0:
            self._warm_up_left[actor] -= 1
            return self._step(actor, diagnose)
        return self._capture(actor, self._new_pool)

    def set_performance(self, values: Tensor) -> None:
        """What performance-informed methods read from now on, `[m]`, NaN where unknown."""
        self.performance.copy_(values)

    def forget(self) -> None:
        """Drop captured steps: the state has been exchanged, not changed in place."""
        self._captured: dict[bool, CapturedStep[tuple[Update, Batch]]] = {}
        self._warm_up_left = {True: _WARM_UP, False: _WARM_UP}

    @property
    def captured(self) -> bool:
        """Whether updates are being replayed."""
        return bool(self._captured)

    def _capture(self, actor: bool, new_pool: Callable[[], GraphPool]) -> tuple[Update, Batch]:
        before = copy.deepcopy(self._state())
        try:
            captured = CapturedStep(lambda: self._step(actor, False), new_pool())
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            warnings.warn(
                f"Updates cannot be captured as CUDA graphs, so they run call by call, several times"
                f" slower: {error}",
                stacklevel=3,
            )
            self._new_pool = None
            self.forget()
            self._restore(before)  # graphs before the one that failed have been carried out
            return self._step(actor, False)
        self._captured[actor] = captured
        return captured.result

    def _state(self) -> dict[str, Any]:
        return {
            "agent": self.agent.state_dict(),
            "sampling": self.replay.generator.get_state(),
            "guard": self.guard.state_dict(),
        }

    def _restore(self, state: dict[str, Any]) -> None:
        # A generator that a capture has failed with may stay unusable: new ones take their place.
        self.agent.noise_rng = torch.Generator(self.agent.device)
        self.replay.generator = torch.Generator(self.agent.device)
        self.agent.load_state_dict(state["agent"])
        self.replay.generator.set_state(state["sampling"])
        self.guard.load_state_dict(state["guard"])

    def _step(self, actor: bool, diagnose: bool) -> tuple[Update, Batch]:
        with self._clock("sampling"):
            batch = self.replay.sample(self.agent.config.batch_size)
        performance = Performance(self.performance, self._baseline)
        update = self.agent.update(batch, performance, actor=actor, diagnose=diagnose)
        self.guard.watch(update.finite, update.masked)
        return update, batch


def cuda_graph_pools(agent: MultiTaskSAC, replay: Replay) -> Callable[[], GraphPool] | None:
    """Makes pools for the updates of an agent on a GPU; None elsewhere."""
    if agent.device.type != "cuda":
        return None
    return lambda: CudaGraphPool([agent.noise_rng, replay.generator])
