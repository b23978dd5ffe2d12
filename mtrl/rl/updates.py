"""The learner's step: sample, update, watch; call by call, or recorded and replayed on a GPU."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from mtrl.rl.recording import CudaTape, Recording, Tape
from mtrl.rl.replay import Batch, Replay
from mtrl.rl.sac import Metrics, MultiTaskSAC
from mtrl.runs.guard import NonFiniteGuard

_WARM_UP = 3  # updates before one is recorded: libraries set themselves up, optimisers their state


class Updates:
    """Draws batches from the replay and updates the agent with them.

    With `tapes`, updates after the first few are recorded once for each form (with and without the
    actor) and then replayed; those that are to be examined closely (`record`) run call by call in
    between, on the same state. What comes out is the same either way.

    Args:
        agent, replay: changed by every call.
        tapes: makes what a recording is made of; None runs every update call by call.
    """

    def __init__(
        self,
        agent: MultiTaskSAC,
        replay: Replay,
        *,
        tapes: Callable[[], Callable[[], Tape]] | None = None,
    ) -> None:
        self.agent, self.replay = agent, replay
        self.guard = NonFiniteGuard(agent.device)
        self._tapes = tapes
        self._recordings: dict[bool, Recording[tuple[Metrics, Batch]]] = {}
        self._performance = torch.full((replay.num_tasks,), torch.nan, device=agent.device)
        self._done = 0
        self._sampling_seconds = 0.0

    def __call__(self, *, record: bool = False) -> tuple[Metrics, Batch]:
        """One update.

        Args:
            record: see `MultiTaskSAC.update`.

        Returns:
            Its metrics and its batch; the next update may overwrite both.
        """
        actor = self.agent.actor_due
        if self._tapes is None or record or self._done < _WARM_UP:
            result = self._step(actor, record)
        elif actor in self._recordings:
            result = self._recordings[actor].replay()
        else:
            result = self._first(actor, self._tapes)
        self.agent.updates += 1
        self._done += 1
        return result

    def set_performance(self, values: Tensor) -> None:
        """What performance-informed methods read from now on, `[m]`, NaN where unknown."""
        self._performance.copy_(values)

    def forget(self) -> None:
        """Drop recordings: state has been exchanged, not changed in place."""
        self._recordings.clear()
        self._done = 0

    @property
    def recorded(self) -> bool:
        """Whether updates are being replayed."""
        return bool(self._recordings)

    def take_seconds(self) -> dict[str, float]:
        """Seconds spent in parts of updates since the last call, as the host sees them.

        A replayed update has no parts, so nothing is counted for it.
        """
        spent = {"sampling": self._sampling_seconds} | self.agent.take_seconds()
        self._sampling_seconds = 0.0
        return spent

    def _first(self, actor: bool, tapes: Callable[[], Callable[[], Tape]]) -> tuple[Metrics, Batch]:
        try:
            recording = Recording(lambda: self._step(actor, False), tapes())
        except RuntimeError as error:
            warnings.warn(
                f"Updates cannot be recorded as CUDA graphs, so they run call by call, several times"
                f" slower: {error}",
                stacklevel=3,
            )
            self._tapes = None
            self.forget()
            return self._step(actor, False)
        self._recordings[actor] = recording
        return recording.result

    def _step(self, actor: bool, record: bool) -> tuple[Metrics, Batch]:
        start = time.perf_counter()
        batch = self.replay.sample(self.agent.config.batch_size)
        self._sampling_seconds += time.perf_counter() - start
        metrics = self.agent.step(batch, self._performance, actor=actor, record=record)
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
