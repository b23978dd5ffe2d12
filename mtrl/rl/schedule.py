"""When what is due: updates, rollouts, resets of the networks."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from typing import Any

from mtrl.rl.config import ScheduleConfig


class Schedule:
    """The counters of a run, and what they allow next.

    It owns the one count of updates: the trainer raises it, and everything else reads it.

    `updates = updates_per_env_step * (env_steps - warm-up)` is held from both sides: an update is due
    only once its data has arrived, and (in `async` mode) a rollout is requested only while collection
    is less than `slack_env_steps` ahead of the updates done. In `sync` mode the loop performs all due
    updates before it requests again, so collection cannot run ahead.

    In `async` mode the age of the policies that act is bounded too: no update is due that would leave
    one in use `max_policy_lag` updates behind, so that a worker that is held up holds up the learner.

    Args:
        config: the ratio and the totals.
        rollout_env_steps: environment steps in one rollout of one worker.

    Attributes:
        env_steps: received.
        updates: done.
        requested_env_steps: received or in flight.
        extra_updates: granted on top of the ratio, after resets.
        in_flight: rollouts requested and not received, over all workers.
    """

    def __init__(self, config: ScheduleConfig, rollout_env_steps: int) -> None:
        self.config = config
        self.rollout_env_steps = rollout_env_steps
        self.env_steps = 0
        self.requested_env_steps = 0
        self.updates = 0
        self.extra_updates = 0
        self.in_flight = 0
        self._acting: dict[int, deque[float]] = defaultdict(deque)  # policies in use, by worker

    @property
    def total_env_steps(self) -> int:
        """Steps of the whole run: the configured total, rounded up to whole rollouts."""
        whole = -(-self.config.total_env_steps // self.rollout_env_steps)
        return whole * self.rollout_env_steps

    @property
    def updates_due(self) -> int:
        """Updates that the data received so far allows."""
        return max(0, int(min(self._granted, self._lag_limit)) - self.updates)

    @property
    def held_by_lag(self) -> bool:
        """Whether an update waits for a worker with an old policy: time to give out the newest one."""
        return self._granted > self.updates >= self._lag_limit

    @property
    def _granted(self) -> int:
        after_warmup = max(0, self.env_steps - self.config.warmup)
        return int(after_warmup * self.config.updates_per_env_step + 1e-9) + self.extra_updates

    @property
    def _lag_limit(self) -> float:
        if self.config.mode == "sync":
            return math.inf
        # Not the first of each: a rollout with a policy may wait behind one of warm-up.
        oldest = [min(versions) for versions in self._acting.values() if versions]
        return min(oldest, default=math.inf) + self.config.max_policy_lag

    @property
    def done(self) -> bool:
        """Whether all steps are collected and all their updates done."""
        return self.env_steps >= self.total_env_steps and self.updates_due == 0

    @property
    def explore(self) -> str:
        """How the next rollout acts: `uniform` during warm-up, then `policy`."""
        return "uniform" if self.requested_env_steps < self.config.warmup else "policy"

    def on_request(self, worker: int, version: int, explore: str) -> None:
        """Count a request for a rollout.

        Args:
            worker: that was asked.
            version: of the policy that it acts with: the updates that made it.
            explore: `uniform` or `policy`.
        """
        self.requested_env_steps += self.rollout_env_steps
        self.in_flight += 1
        self._acting[worker].append(math.inf if explore == "uniform" else version)

    def on_rollout(self, worker: int, env_steps: int) -> None:
        """Count the answer to a worker's oldest request."""
        self.env_steps += env_steps
        self.in_flight -= 1
        self._acting[worker].popleft()

    def on_update(self) -> None:
        """Count an update."""
        self.updates += 1

    @property
    def may_request(self) -> bool:
        """Whether another rollout may be requested now."""
        if self.requested_env_steps >= self.total_env_steps:
            return False
        if self.config.mode == "sync" or self.in_flight == 0:
            return True
        paid = self.config.warmup + self.updates / self.config.updates_per_env_step
        return self.requested_env_steps <= paid + self.config.slack_env_steps

    def state_dict(self) -> dict[str, Any]:
        """The counters. Rollouts in flight are requested again after a resume."""
        return {
            "env_steps": self.env_steps,
            "updates": self.updates,
            "extra_updates": self.extra_updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        self.env_steps = self.requested_env_steps = state["env_steps"]
        self.updates = state["updates"]
        self.extra_updates = state["extra_updates"]


class ResetSchedule:
    """When all networks are initialised anew: at even distances over the run.

    Args:
        resets: of the whole run.
        total_env_steps: of the whole run.

    Attributes:
        done: resets so far.
    """

    def __init__(self, resets: int, total_env_steps: int) -> None:
        self.resets = resets
        self.total_env_steps = total_env_steps
        self.done = 0

    def due(self, env_steps: int) -> bool:
        """Whether the next reset is due after so many environment steps."""
        at = self.total_env_steps * (self.done + 1) / (self.resets + 1)
        return self.done < self.resets and env_steps >= at

    def on_reset(self) -> None:
        """Count a reset."""
        self.done += 1

    def state_dict(self) -> dict[str, int]:
        """The count."""
        return {"done": self.done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Restore :meth:`state_dict`."""
        self.done = state["done"]
