"""The training loop with workers that answer by chance: the ratio, the slack, the age of policies."""

from __future__ import annotations

import contextlib
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mtrl.envs import TaskSet
from mtrl.rl.acting.fragment import Episode, Fragment, Rollout
from mtrl.rl.config import EvaluationConfig, RunConfig, ScheduleConfig
from mtrl.rl.learning.learner import Learner
from mtrl.rl.learning.replay import Replay
from mtrl.rl.learning.sac import Update
from mtrl.rl.parts import Parts
from mtrl.rl.performance import PerformanceTracker
from mtrl.rl.schedule import ResetSchedule, Schedule
from mtrl.rl.telemetry import Telemetry
from mtrl.rl.trainer import Trainer
from mtrl.runs.directory import RunDirectory
from mtrl.runs.interrupt import Interrupt
from mtrl.runs.metric_log import MetricLog, read_jsonl
from mtrl.runs.nan_guard import TrainingError
from mtrl.runs.progress import make_view
from mtrl.runs.stopwatch import Stopwatch
from tests.helpers import make_agent, make_fragment

M = 3


class Workers:
    """A collector whose workers answer each in order, and who is next is for `choose` to say.

    Args:
        rollout: environment steps of a rollout.
        choose: from the workers with a rollout in flight, those that have answered.
        fragments: of the first rollout.
    """

    num_workers, restarts = 3, 0

    def __init__(
        self,
        rollout: int,
        choose: Callable[[list[int], bool], list[int]],
        fragments: list[Fragment],
    ) -> None:
        self.rollout, self.choose, self.fragments = rollout, choose, fragments
        self.flying: list[tuple[int, str, int]] = []  # worker, explore, version
        self.version = -1
        self.asked: Callable[[], None] = lambda: None  # before each request
        self.empty_waits = 0

    def publish(self, weights: np.ndarray, version: int) -> None:
        assert len(weights) > 0
        assert version > self.version, "a policy is given out once"
        self.version = version

    def request(self, worker: int, explore: str) -> None:
        self.asked()
        self.flying.append((worker, explore, self.version))

    def receive(self, *, block: bool, ordered: bool) -> list[Rollout]:
        if not self.flying:
            self.empty_waits += block
            assert self.empty_waits < 3, "neither side may move: the run would hang"
            return []
        waiting = sorted({worker for worker, _, _ in self.flying})
        workers = [self.flying[0][0]] if ordered else self.choose(waiting, block)
        return [self.answer(worker) for worker in workers]

    def answer(self, worker: int) -> Rollout:
        i = next(i for i, (asked, _, _) in enumerate(self.flying) if asked == worker)
        _, explore, version = self.flying.pop(i)
        fragments, self.fragments = self.fragments, []
        acted = -1 if explore == "uniform" else version
        return Rollout(worker, 0, 0, acted, self.rollout, fragments, {})

    def start(self) -> None:
        pass

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass

    def close(self) -> None:
        pass


class Counted:
    """In place of `Learner`: every update is seen by `watch`, none is carried out."""

    performance = torch.full((M,), torch.nan)

    def __init__(self, watch: Callable[[], None]) -> None:
        self.watch = watch
        self.guard = self

    def update(self, number: int, *, diagnose: bool = False) -> tuple[Update, None]:
        del number, diagnose
        self.watch()
        yes = torch.tensor(True)
        return Update(finite=yes, masked=~yes, steps={}, metrics={}), None

    def problem(self, *, now: bool) -> None:
        del now

    def set_performance(self, values: torch.Tensor) -> None:
        del values


class Unsaved(Trainer):
    """The loop without checkpoints."""

    def _save(self) -> None:
        pass


def one_step_each() -> list[Fragment]:
    return [make_fragment(1, task=task) for task in range(M)]


@contextlib.contextmanager
def training(tasks: TaskSet, config: ScheduleConfig, workers: Workers) -> Iterator[Trainer]:
    schedule, performance = Schedule(config, workers.rollout), PerformanceTracker(M, 5)
    run_config = RunConfig(log_interval_updates=10**9, log_interval_s=1e-9)
    clock = Stopwatch()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        run = RunDirectory(Path(folder))
        log = MetricLog(run.path, tasks.names, tensorboard=False)
        stack.callback(log.close)
        telemetry = Telemetry(
            run=run,
            log=log,
            view=make_view(),
            schedule=schedule,
            performance=performance,
            clock=clock,
            config=run_config,
            method="ls",
            num_workers=workers.num_workers,
        )
        parts = Parts(
            tasks=tasks,
            learner=Learner(make_agent(), Replay(M, 50, 4, 2, discount=0.9)),
            schedule=schedule,
            resets=ResetSchedule(0, schedule.total_env_steps),
            performance=performance,
            collector=workers,
            evaluator=NoEvaluator(),  # type: ignore[arg-type]
            directory=run,
            telemetry=telemetry,
            interrupt=Interrupt(),
            clock=clock,
        )
        yield Unsaved(parts, run_config, EvaluationConfig(interval_env_steps=0, final=False))


class NoEvaluator:
    def poll(self, *, block: bool = False) -> None:
        del block


def ages(workers: Workers, updates: int) -> list[int]:
    """How many updates old the policies are that act after so many."""
    return [updates - version for _, explore, version in workers.flying if explore == "policy"]


# A worker's last rollout of warm-up hides its next one, which has a policy.
@example(
    total=31, warmup=1, ratio=1.0, rollout=10, slack=20, publish=9, max_lag=0, seed=1, mode="async"
)
@settings(max_examples=40, deadline=None)
@given(
    total=st.integers(0, 3000),
    warmup=st.integers(0, 600),
    ratio=st.floats(0.01, 2.0),
    rollout=st.integers(10, 300),
    slack=st.integers(0, 500),
    publish=st.integers(1, 100),
    max_lag=st.integers(0, 300),
    seed=st.integers(0, 99),
    mode=st.sampled_from(["sync", "async"]),
)
def test_every_run_ends_with_the_same_counters(
    fake_tasks: TaskSet,
    total: int,
    warmup: int,
    ratio: float,
    rollout: int,
    slack: int,
    publish: int,
    max_lag: int,
    seed: int,
    mode: str,
) -> None:
    config = ScheduleConfig(
        total_env_steps=total,
        warmup_env_steps=warmup,
        updates_per_env_step=ratio,
        slack_env_steps=slack,
        publish_interval=publish,
        max_policy_lag=publish + max_lag,
        mode=mode,  # type: ignore[arg-type]
    )
    warmup = min(warmup, total // 2)
    chance = random.Random(seed)

    def choose(waiting: list[int], block: bool) -> list[int]:
        return chance.sample(waiting, chance.randint(int(block), len(waiting)))

    workers = Workers(rollout, choose, one_step_each())
    with training(fake_tasks, config, workers) as trainer:
        schedule = trainer.schedule

        def watch() -> None:
            done = schedule.updates + 1
            assert done <= max(0, schedule.env_steps - warmup) * ratio + 1e-6
            if mode == "async":
                assert max(ages(workers, done), default=0) <= config.max_policy_lag

        def asked() -> None:
            if mode == "async" and workers.flying:
                paid = warmup + schedule.updates / ratio
                collected = schedule.env_steps + rollout * len(workers.flying)
                assert collected <= paid + slack + 1e-6
            if mode == "sync":
                assert schedule.updates - workers.version < publish

        workers.asked = asked
        trainer.learner = Counted(watch)  # type: ignore[assignment]
        assert trainer.run().state == "done"
        assert not workers.flying
        assert schedule.env_steps == -(-total // rollout) * rollout
        assert schedule.updates == int(max(0, schedule.env_steps - warmup) * ratio + 1e-9)


def test_a_worker_held_up_holds_up_the_learner_at_the_bound(fake_tasks: TaskSet) -> None:
    """The oldest policy in use counts, the learner goes up to the bound, and not beyond."""
    config = ScheduleConfig(
        total_env_steps=6000,
        warmup_env_steps=0,
        updates_per_env_step=1.0,
        slack_env_steps=3000,
        publish_interval=10,
        max_policy_lag=155,  # no multiple of the interval: the newest policy is given out early
        mode="async",
    )

    def choose(waiting: list[int], block: bool) -> list[int]:
        quick = [worker for worker in waiting if worker != 0]
        return quick[:1] or (waiting if block else [])

    workers = Workers(100, choose, one_step_each())
    oldest: list[int] = []
    held: list[int] = []
    policies: set[int] = set()
    with training(fake_tasks, config, workers) as trainer:

        def asked() -> None:
            if trainer.schedule.held_by_lag:
                held.append(trainer.schedule.updates - workers.version)

        workers.asked = asked

        def watch() -> None:
            oldest.append(max(ages(workers, trainer.schedule.updates + 1), default=0))
            policies.update(version for _, _, version in workers.flying)

        trainer.learner = Counted(watch)  # type: ignore[assignment]
        trainer.run()
        assert trainer.schedule.updates == 6000
    assert max(oldest) == 155
    assert len(policies) > 20, "workers get new policies on the way"
    assert held and not any(held), "and the newest one while the learner waits"


def test_the_age_of_policies_is_logged(fake_tasks: TaskSet) -> None:
    """Sync, 100 updates between rollouts, each requested one rollout ahead for each of three workers."""
    config = ScheduleConfig(
        total_env_steps=1000,
        warmup_env_steps=200,
        updates_per_env_step=1.0,
        publish_interval=1,
        mode="sync",
    )
    workers = Workers(100, lambda *_: [], one_step_each())
    expected: list[int] = []
    with training(fake_tasks, config, workers) as trainer:
        answer = workers.answer

        def remembered(worker: int) -> Rollout:
            rollout = answer(worker)
            if rollout.policy_version >= 0:
                expected.append(trainer.schedule.updates - rollout.policy_version)
            return rollout

        workers.answer = remembered  # type: ignore[method-assign]
        trainer.learner = Counted(lambda: None)  # type: ignore[assignment]
        trainer.run()
        for lag in (3, 8, 4):
            trainer.telemetry.on_rollout(trainer.schedule.updates - lag)
        trainer.telemetry.report(0)
        *records, last = read_jsonl(trainer.directory.path / "timing.jsonl")
    assert (last["system/policy_lag_max"], last["system/policy_lag_updates"]) == (8, 5.0)
    lags = [record["system/policy_lag_max"] for record in records]
    # A record is written in every turn, and a turn of `sync` takes one rollout in.
    assert [lag for lag in lags if lag] == [lag for lag in expected if lag]
    assert max(lags) == 500
    assert [record["system/policy_lag_updates"] for record in records] == lags


def test_a_task_that_diverged_throughout_the_warm_up_stops_the_run(fake_tasks: TaskSet) -> None:
    config = ScheduleConfig(total_env_steps=1000, warmup_env_steps=100, mode="sync")
    nothing = make_fragment(0, task=1)
    gone = Fragment(
        1, nothing.obs, nothing.action, nothing.reward, False, Episode(False, 0.0, 0, diverged=True)
    )
    workers = Workers(100, lambda *_: [], [make_fragment(3), gone, make_fragment(2, task=2)])
    expected = r"Found none of fake-1 after 200 environment .*\(1 episodes in all\)"
    with (
        training(fake_tasks, config, workers) as trainer,
        pytest.raises(TrainingError, match=expected),
    ):
        trainer.run()
