"""Training through Ray: the same data as in one process, deaths survived, real MT10."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import ray
import torch

from mtrl.cli import main
from mtrl.distributed.collector import RayCollector, WorkersFailedError
from mtrl.distributed.evaluator import RayEvaluator
from mtrl.envs import TaskSet
from mtrl.rl.acting.env_runner import EnvRunner
from mtrl.rl.acting.fragment import Rollout
from mtrl.rl.acting.interfaces import Collector
from mtrl.rl.acting.local import LocalCollector, LocalEvaluator
from mtrl.rl.acting.policy import acting_policy, build_actor, flat_weights
from mtrl.runs import checkpoint
from mtrl.runs.metric_log import read_jsonl
from tests.helpers import NETWORKS

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_session")]
STEPS = 15


def make_ray_collector(tasks: TaskSet, workers: int = 1, **options) -> RayCollector:
    collector = RayCollector(
        tasks,
        NETWORKS,
        num_workers=workers,
        rollout_steps=STEPS,
        seed=3,
        cpus_per_worker=0.5,
        **options,
    )
    collector.start()
    return collector


def make_local_collector(tasks: TaskSet, workers: int) -> LocalCollector:
    def make_runner(worker: int, incarnation: int) -> EnvRunner:
        return EnvRunner(
            tasks, acting_policy(tasks, NETWORKS), seed=3, worker=worker, num_workers=workers,
            incarnation=incarnation,
        )  # fmt: skip

    collector = LocalCollector(make_runner, workers, STEPS)
    collector.start()
    return collector


def drive(collector: Collector, rounds: int) -> list[Rollout]:
    """What the loop does in `sync` mode: receive in order, publish something new, ask again."""
    rollouts: list[Rollout] = []
    torch.manual_seed(0)
    policy = acting_policy_weights()
    collector.publish(policy, 0)
    for _ in range(2):
        for worker in range(collector.num_workers):
            collector.request(worker, "policy")
    while len(rollouts) < rounds:
        (rollout,) = collector.receive(block=True, ordered=True)
        rollouts.append(rollout)
        collector.publish(policy + 0.01 * len(rollouts), len(rollouts))
        collector.request(rollout.worker, "policy")
    return rollouts


def acting_policy_weights() -> np.ndarray:
    torch.manual_seed(0)
    return flat_weights(build_actor(3, 4, 2, NETWORKS))


def test_both_collectors_give_the_same_data(fake_tasks: TaskSet) -> None:
    remote, local = make_ray_collector(fake_tasks, 2), make_local_collector(fake_tasks, 2)
    for a, b in zip(drive(remote, 8), drive(local, 8), strict=True):
        assert (a.worker, a.sequence, a.policy_version) == (b.worker, b.sequence, b.policy_version)
        for x, y in zip(a.fragments, b.fragments, strict=True):
            assert (x.task, x.episode) == (y.task, y.episode)
            assert np.array_equal(x.obs, y.obs)
            assert np.array_equal(x.action, y.action)
            assert np.array_equal(x.reward, y.reward)
    remote.close()


def kill(collector: RayCollector) -> None:
    ray.kill(collector._workers[0].actor, no_restart=True)


def test_a_killed_worker_is_replaced_and_nothing_is_lost_or_doubled(fake_tasks: TaskSet) -> None:
    collector = make_ray_collector(fake_tasks, 2, reward_normalization="running")
    collector.publish(acting_policy_weights(), 0)
    for _ in range(2):
        for worker in (0, 1):
            collector.request(worker, "policy")
    first = collector.receive(block=True, ordered=True)
    assert [r.worker for r in first] == [0]
    kill(collector)
    collector.request(0, "policy")  # the dead worker may have answered all that it was asked before
    got = [(r.worker, r.sequence, r.incarnation) for r in first]
    for _ in range(4):
        got += [
            (r.worker, r.sequence, r.incarnation)
            for r in collector.receive(block=True, ordered=True)
        ]
    assert sorted((w, s) for w, s, _ in got) == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    assert (0, 2, 1) in got, "the successor is the next incarnation"
    assert collector.restarts == 1
    # A scale's mean only rises here, from 0: rewards are positive and it remembers 1000 of them. Three
    # rollouts of the same worker, its death in between, take it higher than two of the other.
    scales = [w["scales"][0]["mean"] for w in collector.state_dict()["workers"]]
    assert scales[0] > 1.2 * scales[1] > 0
    assert collector.receive(block=True, ordered=False) == []
    collector.close()


def test_a_crash_loop_ends_with_a_clear_error(fake_tasks: TaskSet) -> None:
    collector = make_ray_collector(fake_tasks, max_restarts=0)
    collector.publish(acting_policy_weights(), 0)
    collector.request(0, "policy")
    kill(collector)
    with pytest.raises(WorkersFailedError, match="max_restarts"):
        for _ in range(3):
            collector.receive(block=True, ordered=False)
            collector.request(0, "policy")
    collector.close()


def aimed(tasks: TaskSet, goals: tuple[int, ...]) -> np.ndarray:
    """Weights of a policy that walks straight to one goal of each task, whatever it sees."""
    actor = build_actor(len(tasks), tasks.obs_dim, tasks.action_dim, NETWORKS)
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter.zero_()
        for task, goal in enumerate(goals):
            x, y = tasks.goals[task][goal]
            angle = -task * 2 * np.pi / 5  # the fake task rotates actions by the opposite
            turned = [np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y]
            actor.head_bias[0, task, 0, :2] = torch.tensor(turned)
    return flat_weights(actor)


def test_the_evaluators_agree(fake_tasks: TaskSet) -> None:
    """On the order of goals and of tasks, and on whose policy acted."""
    weights, others = aimed(fake_tasks, (1, 3, 6)), aimed(fake_tasks, (0, 0, 1))
    remote = RayEvaluator(fake_tasks, NETWORKS, goals=2, shards=2, cpus_per_worker=0.5)
    local = LocalEvaluator(fake_tasks, acting_policy(fake_tasks, NETWORKS), 2)
    whole = local.full(weights, 5)
    assert [row.index(True) for row in whole.success] == [1, 0, 4]
    assert [sum(row) for row in whole.success] == [1, 2, 2]
    assert remote.full(weights, 5) == whole

    for version, policy in ((6, others), (5, weights)):
        remote.submit(policy, version, 100)
        local.submit(policy, version, 100)
        periodic = remote.poll(block=True)
        assert periodic == local.poll(block=True)
        assert remote.poll() is None
    assert periodic is not None
    assert periodic[1].success == [row[:2] for row in whole.success]
    remote.close()


@pytest.mark.parametrize("envs", [1, 2])
def test_sync_training_is_the_same_through_ray(tmp_path: Path, envs: int) -> None:
    contents = []
    for collector in ("local", "ray"):
        options = [
            f"run.directory={tmp_path / collector}", f"collect.collector={collector}",
            "collect.num_workers=2", "ray.cpus_per_worker=0.5", "run.tensorboard=false",
            f"collect.envs_per_task={envs}",
            "schedule.total_env_steps=3000", "schedule.warmup_env_steps=900",
            "evaluation.interval_env_steps=1500", "evaluation.final=false",
        ]  # fmt: skip
        assert main(["train", "-c", "fake", *options]) == 0
        (run,) = (tmp_path / collector).iterdir()
        contents.append((run / "metrics.jsonl").read_bytes())
    assert contents[0] == contents[1]
    assert contents[0].count(b"\n") >= 3


def test_more_workers_than_cores_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["collect.collector=ray", "schedule.mode=async", "collect.num_workers=500"]
    assert main(["train", "-c", "fake", f"run.directory={tmp_path}", *options]) == 3
    cores = ray.cluster_resources()["CPU"]
    error = capsys.readouterr().err
    assert f"Ray has {cores:g}" in error
    assert "500" in error


def test_a_minute_of_real_mt10(tmp_path: Path) -> None:
    code = main(
        ["train", "-c", "mt10/quick", f"run.directory={tmp_path}", "schedule.total_env_steps=12000",
         "schedule.warmup_env_steps=4000", "schedule.updates_per_env_step=0.01",
         "networks.actor=[32,32]", "networks.critic=[32,32]", "evaluation.final=false",
         "evaluation.interval_env_steps=6000", "evaluation.goals=1", "run.log_interval_updates=20"]
    )  # fmt: skip
    assert code == 0
    (run,) = tmp_path.iterdir()
    state = checkpoint.load_latest(run / "checkpoints")[1]
    assert state["schedule"] == {"env_steps": 12000, "updates": 80, "extra_updates": 0}
    assert state["replay"]["added"] == [1200] * 10
    assert state["collector"]["sequences"] == [12]
    for part in ("actor", "critic"):
        weights = torch.cat([v.flatten() for v in state["agent"][part].values()])
        assert torch.isfinite(weights).all()
    assert all(
        float(s["step"]) > 0 for s in state["agent"]["optimizers"]["actor"]["state"].values()
    )
    records = read_jsonl(run / "metrics.jsonl")
    losses = [v for r in records for k, v in r.items() if k.startswith("losses/")]
    assert losses
    assert np.isfinite(losses).all()
    assert list((run / "eval").glob("step_*.json"))
    goals = json.loads(next((run / "eval").glob("step_*.json")).read_text())["goals"]
    assert goals == [0]


RAY_JOB = [
    "train", "-c", "fake", "collect.collector=ray", "schedule.mode=async", "collect.num_workers=2",
    "ray.cpus_per_worker=0.5", "run.tensorboard=false", "networks.actor=[16]", "networks.critic=[16]",
    "sac.batch_size=8", "schedule.warmup_env_steps=900", "schedule.total_env_steps=9000",
    "evaluation.interval_env_steps=0", "evaluation.final=false", "run.log_interval_s=0.01",
    "run.checkpoint_interval_env_steps=600",
]  # fmt: skip


def check_counters(run: Path) -> dict:
    """A run of `RAY_JOB` ended, and every step and update of it counts once."""
    state = checkpoint.load_latest(run / "checkpoints")[1]
    assert state["schedule"] == {"env_steps": 9000, "updates": 810, "extra_updates": 0}
    assert state["replay"]["added"] == [3000] * 3
    assert sum(state["collector"]["sequences"]) == 9000 / 150
    steps = [r["env_steps"] for r in read_jsonl(run / "metrics.jsonl")]
    assert steps == sorted(steps)
    assert json.loads((run / "status.json").read_text())["state"] == "done"
    return state


def test_training_survives_the_death_of_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive, received = RayCollector.receive, []

    def killing(self: RayCollector, **options: bool) -> list[Rollout]:
        rollouts = receive(self, **options)
        before = len(received)
        received.extend(rollouts)
        if before < 20 <= len(received):
            pid = self._workers[0].actor.__ray_call__.remote(lambda worker: os.getpid())
            os.kill(ray.get(pid), signal.SIGKILL)
        return rollouts

    monkeypatch.setattr(RayCollector, "receive", killing)
    assert main([*RAY_JOB, f"run.directory={tmp_path}"]) == 0
    (run,) = tmp_path.iterdir()
    state = check_counters(run)
    assert state["collector"]["incarnation"] == 1
    assert read_jsonl(run / "timing.jsonl")[-1]["system/worker_restarts"] == 1
    # Each rollout once, and the successor's are among them.
    identities = [(r.worker, r.sequence) for r in received]
    assert len(set(identities)) == len(identities) == 60
    assert {r.incarnation for r in received if r.worker == 0} == {0, 1}


def test_kill_and_resume_through_ray_end_with_the_same_counters(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mtrl", *RAY_JOB, f"run.directory={tmp_path}"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not newest(tmp_path) >= 1800:
        time.sleep(0.02)
    process.kill()
    process.wait()
    (run,) = tmp_path.iterdir()
    state = checkpoint.load_latest(run / "checkpoints")[1]
    assert 1800 <= state["schedule"]["env_steps"] < 9000, "the run should die in the middle"
    assert main(["train", "--resume", str(run)]) == 0
    assert check_counters(run)["collector"]["incarnation"] == 1
    times = [r["wall_s"] for r in read_jsonl(run / "timing.jsonl")]
    assert times == sorted(times), "what was written after the checkpoint is not there twice"


def newest(base: Path) -> int:
    """Step of the newest checkpoint below a folder of runs."""
    found = base.glob("*/checkpoints/step_*[0-9]")
    return max((int(path.name[5:]) for path in found), default=-1)


def test_sigterm_stops_a_ray_run_with_a_checkpoint(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mtrl", "train", "-c", "fake", f"run.directory={tmp_path}",
               "collect.collector=ray", "schedule.mode=async", "schedule.total_env_steps=6000000",
               "run.checkpoint_interval_env_steps=600", "run.tensorboard=false"]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ})
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list(tmp_path.glob("*/checkpoints/step_*")):
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=90)
    assert process.returncode == 75, errors
    (run,) = tmp_path.iterdir()
    assert json.loads((run / "status.json").read_text())["state"] == "interrupted"
