"""Where rollouts come from: the protocol, and the collector in this process."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mtrl.rl.fragment import Rollout
from mtrl.rl.sampler import Sampler


class Collector(Protocol):
    """Workers that are asked for rollouts and answer in their own time.

    The training loop decides when to ask and with which policy; a collector only carries it out, so
    the same loop runs in one process or on a cluster.
    """

    num_workers: int
    restarts: int

    def publish(self, weights: NDArray[np.float32], version: int) -> None:
        """Make `weights` the policy of all requests from now on."""
        ...

    def request(self, worker: int, explore: str) -> None:
        """Ask a worker for one more rollout with the policy published last."""
        ...

    def receive(self, *, block: bool, ordered: bool) -> list[Rollout]:
        """Finished rollouts; none only if `block` is false or nothing was requested.

        Args:
            block: wait for at least one.
            ordered: return exactly the next rollout in the order of requests.
        """
        ...

    def in_flight(self, worker: int) -> int:
        """Rollouts requested from a worker and not received."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Sequence and incarnation numbers and what workers carry over a restart."""
        ...

    def close(self) -> None:
        """Stop the workers."""
        ...


class LocalCollector:
    """All workers in this process; a rollout is taken when it is received.

    A request keeps the policy that was published when it was made, exactly as a remote worker would.

    Args:
        make_sampler: builds the sampler of worker i in incarnation k.
        num_workers: how many.
        rollout_steps: T.
        state: of a run that is resumed.
    """

    def __init__(
        self,
        make_sampler: Callable[[int, int], Sampler],
        num_workers: int,
        rollout_steps: int,
        state: dict[str, Any] | None = None,
    ) -> None:
        self.num_workers = num_workers
        self.restarts = 0
        self.rollout_steps = rollout_steps
        self.incarnation = state["incarnation"] + 1 if state else 0
        self.sequences = list(state["sequences"]) if state else [0] * num_workers
        self.samplers = [make_sampler(i, self.incarnation) for i in range(num_workers)]
        if state:
            for sampler, saved in zip(self.samplers, state["workers"], strict=True):
                if saved is not None:
                    sampler.load_state_dict(saved)
        self._queue: deque[tuple[int, str, NDArray[np.float32], int]] = deque()
        self._published: tuple[NDArray[np.float32], int] | None = None

    def publish(self, weights: NDArray[np.float32], version: int) -> None:
        """See :class:`Collector`."""
        self._published = weights, version

    def request(self, worker: int, explore: str) -> None:
        """See :class:`Collector`."""
        assert self._published is not None, "publish a policy before the first request"
        self._queue.append((worker, explore, *self._published))

    def receive(self, *, block: bool, ordered: bool) -> list[Rollout]:
        """Take the oldest requested rollout now."""
        del block, ordered
        if not self._queue:
            return []
        worker, explore, weights, version = self._queue.popleft()
        sampler = self.samplers[worker]
        sampler.policy.load(weights, version)
        rollout = sampler.rollout(self.rollout_steps, self.sequences[worker], explore=explore)
        self.sequences[worker] += 1
        return [rollout]

    def in_flight(self, worker: int) -> int:
        """See :class:`Collector`."""
        return sum(queued == worker for queued, *_ in self._queue)

    def state_dict(self) -> dict[str, Any]:
        """See :class:`Collector`."""
        return {
            "incarnation": self.incarnation,
            "sequences": list(self.sequences),
            "workers": [sampler.state_dict() for sampler in self.samplers],
        }

    def close(self) -> None:
        """Close the environments."""
        for sampler in self.samplers:
            for env in sampler.envs:
                env.close()
