"""The learner's step: sample, update, watch; call by call, or recorded and replayed on a GPU."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from mtrl.balancing import Performance
from mtrl.rl.learning.cuda_graphs import CudaTape, Recording, Tape
from mtrl.rl.learning.replay import Batch, Replay
from mtrl.rl.learning.sac import Metrics, MultiTaskSAC
from mtrl.runs.nan_guard import NonFiniteGuard

_WARM_UP = 2  # updates of a form before it is recorded: libraries and optimisers set themselves up


class Learner:
    """Draws batches from the replay and updates the agent with them.

    With `tapes`, updates after the first few are recorded once for each form (with and without the
    actor) and then replayed; those that are to be examined closely (`record`) run call by call in
    between, on the same state. What comes out is the same either way.

    Args:
        agent, replay: changed by every call.
        baseline: `[m]` single-task success rates that performance is compared with; None is 1.
        tapes: makes what a recording is made of; None runs every update call by call.

    Attributes:
        performance: what performance-informed methods read, `[m]`, NaN where unknown.
    """

    def __init__(
        self,
        agent: MultiTaskSAC,
        replay: Replay,
        *,
        baseline: Sequence[float] | None = None,
        tapes: Callable[[], Callable[[], Tape]] | None = None,
    ) -> None:
        self.agent, self.replay = agent, replay
        self.guard = NonFiniteGuard(agent.device)
        self._tapes = tapes
        self._recordings: dict[bool, Recording[tuple[Metrics, Batch]]] = {}
        self.performance = torch.full((replay.num_tasks,), torch.nan, device=agent.device)
        self._baseline: Tensor | float = 1.0
        if baseline is not None:
            self._baseline = torch.tensor(baseline, dtype=torch.float32, device=agent.device)
        self._seen = {True: 0, False: 0}  # updates call by call of each form
        self._seconds = {"sampling": 0.0, "recorded": 0.0, "balancing": 0.0}

    def __call__(self, *, record: bool = False) -> tuple[Metrics, Batch]:
        """One update.

        Args:
            record: see `MultiTaskSAC.update`.

        Returns:
            Its metrics and its batch; the next update may overwrite both.
        """
        actor = self.agent.actor_due
        recording = self._recordings.get(actor)
        if record or self._tapes is None or (recording is None and self._seen[actor] < _WARM_UP):
            result = self._step(actor, record)
            self._seen[actor] += 1
        elif recording is None:
            result = self._first(actor, self._tapes)
        else:
            start = time.perf_counter()
            result = recording.replay()
            self._seconds["recorded"] += time.perf_counter() - start - recording.host_seconds
            self._seconds["balancing"] += recording.host_seconds
            recording.host_seconds = 0.0
        self.agent.updates += 1
        return result

    def set_performance(self, values: Tensor) -> None:
        """What performance-informed methods read from now on, `[m]`, NaN where unknown."""
        self.performance.copy_(values)

    def forget(self) -> None:
        """Drop recordings: state has been exchanged, not changed in place."""
        self._recordings.clear()
        self._seen = {True: 0, False: 0}

    @property
    def recorded(self) -> bool:
        """Whether updates are being replayed."""
        return bool(self._recordings)

    def take_seconds(self) -> dict[str, float]:
        """Seconds spent in parts of updates since the last call, as the host sees them.

        Of replayed updates it sees the methods' work on the host, and `recorded` for all the rest.
        """
        spent, self._seconds = self._seconds, dict.fromkeys(self._seconds, 0.0)
        for part, seconds in self.agent.take_seconds().items():
            spent[part] = spent.get(part, 0.0) + seconds
        return spent

    def _first(self, actor: bool, tapes: Callable[[], Callable[[], Tape]]) -> tuple[Metrics, Batch]:
        before = copy.deepcopy(self._state())
        try:
            recording = Recording(lambda: self._step(actor, False), tapes())
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            warnings.warn(
                f"Updates cannot be recorded as CUDA graphs, so they run call by call, several times"
                f" slower: {error}",
                stacklevel=3,
            )
            self._tapes = None
            self.forget()
            self._restore(before)  # stretches before the one that failed have been carried out
            return self._step(actor, False)
        self._recordings[actor] = recording
        return recording.result

    def _state(self) -> dict[str, Any]:
        return {
            "agent": self.agent.state_dict(),
            "sampling": self.replay.generator.get_state(),
            "guard": self.guard.state_dict(),
        }

    def _restore(self, state: dict[str, Any]) -> None:
        # A generator that a recording has failed with may stay unusable: new ones take their place.
        self.agent.noise_rng = torch.Generator(self.agent.device)
        self.replay.generator = torch.Generator(self.agent.device)
        self.agent.load_state_dict(state["agent"])
        self.replay.generator.set_state(state["sampling"])
        self.guard.load_state_dict(state["guard"])

    def _step(self, actor: bool, record: bool) -> tuple[Metrics, Batch]:
        start = time.perf_counter()
        batch = self.replay.sample(self.agent.config.batch_size)
        self._seconds["sampling"] += time.perf_counter() - start
        performance = Performance(self.performance, self._baseline)
        metrics = self.agent.step(batch, performance, actor=actor, record=record)
        self.guard.watch(metrics)
        return metrics, batch


def cuda_tapes(agent: MultiTaskSAC, replay: Replay) -> Callable[[], Callable[[], Tape]] | None:
    """Tapes for an agent on a GPU; None elsewhere."""
    if agent.device.type != "cuda":
        return None
    generators = [agent.noise_rng, replay.generator]
    stream = torch.cuda.Stream()

    def tapes() -> Callable[[], Tape]:
        pool = torch.cuda.graph_pool_handle()  # shared by the stretches of one recording
        return lambda: CudaTape(stream, pool, generators)

    return tapes
