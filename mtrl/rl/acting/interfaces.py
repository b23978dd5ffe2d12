"""What the training loop asks of workers: protocols that one process and a cluster both meet."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mtrl.rl.acting.evaluation import Evaluation
from mtrl.rl.acting.fragment import Rollout


class Collector(Protocol):
    """Workers that are asked for rollouts and answer in their own time.

    The training loop decides when to ask and with which policy; a collector only carries it out, so
    the same loop runs in one process or on a cluster. It is built, then restored where a run goes on,
    then started.

    Attributes:
        num_workers: how many.
        restarts: deaths of workers so far.
    """

    num_workers: int
    restarts: int

    def start(self) -> None:
        """Start the workers, and wait until they can be asked."""
        ...

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

    def state_dict(self) -> dict[str, Any]:
        """Sequence and incarnation numbers and what workers carry over a restart."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore :meth:`state_dict`, before :meth:`start`; workers are of the next incarnation."""
        ...

    def close(self) -> None:
        """Stop the workers."""
        ...


class Evaluator(Protocol):
    """Evaluates beside training, or in its place."""

    def submit(self, weights: NDArray[np.float32], version: int, env_steps: int) -> None:
        """Begin a periodic evaluation; dropped while the last one is still running."""
        ...

    def poll(self, *, block: bool = False) -> tuple[int, Evaluation] | None:
        """The finished evaluation with the `env_steps` of its policy, once; None if there is none."""
        ...

    def full(self, weights: NDArray[np.float32], version: int) -> Evaluation:
        """Every goal once per task; blocks."""
        ...

    def close(self) -> None:
        """Release workers."""
        ...
