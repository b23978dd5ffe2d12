"""What a training loop is made of, and the state of a run: that of its parts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from mtrl.envs import TaskSet
from mtrl.rl.acting.interfaces import Collector, Evaluator
from mtrl.rl.learning.learner import Learner
from mtrl.rl.performance import PerformanceTracker
from mtrl.rl.schedule import ResetSchedule, Schedule
from mtrl.rl.telemetry import Telemetry
from mtrl.runs.directory import RunDirectory
from mtrl.runs.interrupt import Interrupt
from mtrl.runs.stopwatch import Stopwatch


@dataclass(frozen=True)
class Parts:
    """Everything that does work in a training loop. The loop itself has no state of its own.

    Attributes:
        tasks: names and sizes.
        learner: with the agent and the replay.
        schedule: counts environment steps and updates.
        resets: counts resets of the networks.
        performance: counts episodes, and estimates success rates.
        collector: asks workers for rollouts.
        evaluator: evaluates beside training.
        directory: of the run.
        telemetry: logs and shows.
        interrupt: the signals received.
        clock: counts the seconds of each part of the loop.
    """

    tasks: TaskSet
    learner: Learner
    schedule: Schedule
    resets: ResetSchedule
    performance: PerformanceTracker
    collector: Collector
    evaluator: Evaluator
    directory: RunDirectory
    telemetry: Telemetry
    interrupt: Interrupt
    clock: Stopwatch

    def state_dict(self) -> dict[str, Any]:
        """Everything that a checkpoint holds."""
        return {
            "agent": self.learner.agent.state_dict(),
            "replay": self.learner.replay.state_dict(),
            "schedule": self.schedule.state_dict(),
            "resets": self.resets.state_dict(),
            "performance": self.performance.state_dict(),
            "collector": self.collector.state_dict(),
            "telemetry": self.telemetry.state_dict(),
            "policy": {  # what `load_policy` needs to build the actor
                "tasks": self.tasks.names,
                "obs_dim": self.tasks.obs_dim,
                "action_dim": self.tasks.action_dim,
                "networks": asdict(self.learner.agent.networks),
            },
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore :meth:`state_dict`, before the collector starts."""
        self.learner.agent.load_state_dict(state["agent"])
        self.learner.replay.load_state_dict(state["replay"])
        self.learner.forget()
        self.schedule.load_state_dict(state["schedule"])
        self.resets.load_state_dict(state["resets"])
        self.performance.load_state_dict(state["performance"])
        self.collector.load_state_dict(state["collector"])
        self.telemetry.load_state_dict(state["telemetry"])
