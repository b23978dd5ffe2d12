"""Collector and evaluator beside a Ray that can be told what goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ray import exceptions

from mtrl.distributed import collector as collector_module
from mtrl.distributed import evaluator as evaluator_module
from mtrl.distributed import waiting
from mtrl.distributed.collector import RayCollector
from mtrl.distributed.evaluator import RayEvaluator
from mtrl.distributed.waiting import Patience, WorkersFailedError
from mtrl.envs import TaskSet
from mtrl.rl.acting.env_runner import EnvRunner
from mtrl.rl.acting.evaluation import Evaluation
from mtrl.rl.acting.fragment import Rollout
from mtrl.rl.acting.local import LocalCollector
from mtrl.rl.acting.policy import acting_policy
from mtrl.runs.interrupt import Interrupt
from tests.helpers import NETWORKS

LOST = exceptions.ObjectLostError("ab", None, "")  # type: ignore[arg-type]
DEATHS = [
    exceptions.RayActorError(),
    LOST,
    exceptions.OwnerDiedError("ab", None, ""),  # type: ignore[arg-type]
    exceptions.ObjectReconstructionFailedError("ab", exceptions.RayError(), None, ""),  # type: ignore[arg-type]
    exceptions.NodeDiedError("gone"),
    exceptions.WorkerCrashedError(),
]
FAILURE = exceptions.RayTaskError("rollout", "a traceback", ValueError("in the environment"))


class FakeRay:
    """Answers at once, or never."""

    def __init__(self) -> None:
        self.hangs = False
        self.killed: list[Any] = []

    def put(self, value: Any) -> Any:
        return value

    def wait(self, answers: list[Any], num_returns: int, timeout: float) -> tuple[list, list]:
        return ([], answers) if self.hangs else (answers, [])

    def get(self, answer: Any) -> Any:
        if isinstance(answer, list):
            return [self.get(one) for one in answer]
        if isinstance(answer, Exception):
            raise answer
        return answer.value if isinstance(answer, Answer) else answer

    def kill(self, actor: Any) -> None:
        self.killed.append(actor)


class Answer:
    """A reference, to be told from others by identity."""

    def __init__(self, value: Any) -> None:
        self.value = value


class Call:
    def __init__(self, function: Callable[..., Any]) -> None:
        self.remote = function


class FakeWorker:
    """What `_spawn` makes; a script says what its answers are."""

    def __init__(self, index: int, incarnation: int, state: Any, script: list[Any]) -> None:
        self.index, self.incarnation, self.state, self.script = index, incarnation, state, script
        self.rollout, self.ready = Call(self._rollout), Call(lambda: True)

    def _rollout(self, weights: Any, version: int, steps: int, sequence: int, explore: str) -> Any:
        if self.script and isinstance(self.script[0], Exception):
            return self.script.pop(0)
        done = 0 if self.state is None else self.state["done"]
        self.state = {"done": done + 1}
        rollout = Rollout(self.index, self.incarnation, sequence, version, 10, [], {})
        return Answer((rollout, self.state))


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    fake = FakeRay()
    monkeypatch.setattr(collector_module, "ray", fake)
    monkeypatch.setattr(evaluator_module, "ray", fake)
    monkeypatch.setattr(collector_module.time, "sleep", lambda seconds: None)
    return fake


def make_collector(
    monkeypatch: pytest.MonkeyPatch,
    tasks: TaskSet,
    script: list[Any],
    *,
    state: dict[str, Any] | None = None,
    **options: Any,
) -> tuple[RayCollector, list[FakeWorker]]:
    spawned: list[FakeWorker] = []

    def spawn(self: RayCollector, index: int, incarnation: int, state: Any) -> FakeWorker:
        spawned.append(FakeWorker(index, incarnation, state, script))
        return spawned[-1]

    monkeypatch.setattr(RayCollector, "_spawn", spawn)
    workers = options.pop("num_workers", 1)
    collector = RayCollector(
        tasks, NETWORKS, num_workers=workers, rollout_steps=5, seed=0, **options
    )
    if state is not None:
        collector.load_state_dict(state)
    assert spawned == [], "no worker before the start"
    collector.start()
    collector.publish(np.zeros(1, np.float32), 0)
    return collector, spawned


STATE = {"incarnation": 4, "sequences": [7, 6], "workers": [{"done": 70}, {"done": 60}]}


def test_workers_of_a_resumed_run_do_not_repeat_their_streams(
    ray: FakeRay, monkeypatch: pytest.MonkeyPatch, fake_tasks: TaskSet
) -> None:
    collector, spawned = make_collector(monkeypatch, fake_tasks, [], num_workers=2, state=STATE)
    assert [(w.index, w.incarnation, w.state["done"]) for w in spawned] == [(0, 5, 70), (1, 5, 60)]
    for worker in (0, 1):
        collector.request(worker, "policy")
    rollouts = collector.receive(block=True, ordered=False)
    assert [(r.worker, r.incarnation, r.sequence) for r in rollouts] == [(0, 5, 7), (1, 5, 6)]
    assert collector.state_dict() == {
        "incarnation": 5, "sequences": [8, 7], "workers": [{"done": 71}, {"done": 61}],
    }  # fmt: skip


def test_samplers_of_a_resumed_run_do_not_repeat_their_streams(fake_tasks: TaskSet) -> None:
    def make(worker: int, incarnation: int) -> EnvRunner:
        policy = acting_policy(fake_tasks, NETWORKS)
        return EnvRunner(
            fake_tasks, policy, seed=3, worker=worker, num_workers=1, incarnation=incarnation
        )

    def actions(collector: LocalCollector) -> np.ndarray:
        collector.publish(np.zeros(1, np.float32), 0)
        collector.request(0, "uniform")
        for runner in collector.runners:
            runner.policy.load = lambda weights, version: None  # type: ignore[method-assign]
        (rollout,) = collector.receive(block=True, ordered=True)
        return np.concatenate([fragment.action for fragment in rollout.fragments])

    def started(before: LocalCollector | None = None) -> LocalCollector:
        collector = LocalCollector(make, 1, 20)
        if before is not None:
            collector.load_state_dict(before.state_dict())
        collector.start()
        return collector

    first = started()
    drawn = actions(first)
    assert np.array_equal(drawn, actions(started()))
    resumed = started(first)
    assert resumed.incarnation == 1
    assert not np.isin(actions(resumed), drawn).any()
    assert started(resumed).incarnation == 2


@pytest.mark.parametrize("death", DEATHS, ids=lambda death: type(death).__name__)
def test_a_lost_answer_is_a_death_of_its_worker(
    ray: FakeRay, monkeypatch: pytest.MonkeyPatch, fake_tasks: TaskSet, death: Exception
) -> None:
    script: list[Any] = [None]
    collector, spawned = make_collector(monkeypatch, fake_tasks, script)
    collector.request(0, "policy")
    collector.receive(block=True, ordered=True)
    script[0] = death
    collector.request(0, "policy")
    (rollout,) = collector.receive(block=True, ordered=True)
    assert (rollout.incarnation, rollout.sequence) == (1, 1)
    assert collector.restarts == 1
    assert spawned[1].state == {"done": 2}, "the successor begins with what its predecessor carried"
    assert ray.killed == [spawned[0]], "none of two works on"


def test_an_exception_of_the_environment_is_no_death(
    ray: FakeRay, monkeypatch: pytest.MonkeyPatch, fake_tasks: TaskSet
) -> None:
    collector, _ = make_collector(monkeypatch, fake_tasks, [FAILURE])
    collector.request(0, "policy")
    with pytest.raises(WorkersFailedError, match="a traceback"):
        collector.receive(block=True, ordered=True)


def test_a_wait_says_what_it_waits_for_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    clock = iter([0.0, *range(10, 150, 10), 151.0])
    monkeypatch.setattr(waiting.time, "monotonic", lambda: float(next(clock)))
    patience = Patience(150.0, said.append)
    for _ in range(14):
        patience.check("a rollout of worker 0")
    assert len(said) == 2
    assert said[1] == "Waiting for a rollout of worker 0, for 140 s now."
    with pytest.raises(WorkersFailedError, match="151 s for a rollout of worker 0 in vain"):
        patience.check("a rollout of worker 0")


def hang(ray: FakeRay, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing answers, and each look at the clock is an hour later."""
    ray.hangs = True
    hours = iter(range(0, 10**6, 3600))
    monkeypatch.setattr(waiting.time, "monotonic", lambda: float(next(hours)))


def test_no_wait_is_for_ever(
    ray: FakeRay, monkeypatch: pytest.MonkeyPatch, fake_tasks: TaskSet
) -> None:
    collector, _ = make_collector(monkeypatch, fake_tasks, [], num_workers=2)
    collector.request(1, "policy")
    hang(ray, monkeypatch)
    with pytest.raises(WorkersFailedError, match="a rollout of worker 1"):
        collector.receive(block=True, ordered=False)
    with pytest.raises(WorkersFailedError, match="2 of 2 rollout workers, which build"):
        collector.start()
    with pytest.raises(WorkersFailedError, match="2 of 2 evaluation workers"):
        make_evaluator(monkeypatch, fake_tasks, []).full(np.zeros(1, np.float32), 0)


def test_a_signal_ends_the_wait_for_the_start(
    ray: FakeRay, monkeypatch: pytest.MonkeyPatch, fake_tasks: TaskSet
) -> None:
    interrupt = Interrupt()
    collector, _ = make_collector(monkeypatch, fake_tasks, [], interrupt=interrupt)
    ray.hangs = True
    interrupt.signal = 2
    collector.start()
    collector.request(0, "policy")
    assert collector.receive(block=True, ordered=True) == []


def make_evaluator(
    monkeypatch: pytest.MonkeyPatch, tasks: TaskSet, script: list[Any]
) -> RayEvaluator:
    """Goals 0, 3 and 6 succeed; the script holds what goes wrong first."""

    class Worker:
        def __init__(self) -> None:
            self.run = Call(self._run)

        def _run(self, weights: Any, version: int, goals: list[int]) -> Any:
            if script:
                return script.pop(0)
            success = [[goal % 3 == 0 for goal in goals]] * 3
            return Evaluation(goals, success, 10 * len(goals), version)

    monkeypatch.setattr(RayEvaluator, "_spawn", lambda self, cpus: Worker())
    return RayEvaluator(tasks, NETWORKS, goals=2, shards=2)


@pytest.mark.parametrize("death", DEATHS, ids=lambda death: type(death).__name__)
def test_a_full_evaluation_survives_deaths(
    ray: FakeRay, monkeypatch: pytest.MonkeyPatch, fake_tasks: TaskSet, death: Exception
) -> None:
    evaluator = make_evaluator(monkeypatch, fake_tasks, [death, death, death])
    result = evaluator.full(np.zeros(1, np.float32), 5)
    assert result.goals == list(range(7))
    assert result.success == [[goal % 3 == 0 for goal in range(7)]] * 3
    assert len(ray.killed) == 5, "three dead ones, and two that are done"


def test_a_full_evaluation_does_not_try_for_ever(
    ray: FakeRay, monkeypatch: pytest.MonkeyPatch, fake_tasks: TaskSet
) -> None:
    evaluator = make_evaluator(monkeypatch, fake_tasks, [LOST] * 100)
    with pytest.raises(WorkersFailedError, match="died 3 times at the same goals"):
        evaluator.full(np.zeros(1, np.float32), 5)
    evaluator = make_evaluator(monkeypatch, fake_tasks, [FAILURE])
    with pytest.raises(WorkersFailedError, match="a traceback"):
        evaluator.full(np.zeros(1, np.float32), 5)


@pytest.mark.parametrize("death", DEATHS, ids=lambda death: type(death).__name__)
def test_a_periodic_evaluation_is_lost_with_its_worker_only(
    ray: FakeRay, monkeypatch: pytest.MonkeyPatch, fake_tasks: TaskSet, death: Exception
) -> None:
    evaluator = make_evaluator(monkeypatch, fake_tasks, [death])
    evaluator.submit(np.zeros(1, np.float32), 1, 100)
    assert evaluator.poll(block=True) is None
    evaluator.submit(np.zeros(1, np.float32), 2, 200)
    result = evaluator.poll(block=True)
    assert result is not None
    assert (result[0], result[1].goals) == (200, [0, 1])
