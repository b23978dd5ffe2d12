"""Measure how many transitions per second one learner takes in, and how many simulating cores that is.

Ray workers without physics answer at once with made-up rollouts, so that only the learner's side
counts: receiving, unpacking, forming returns, filling the replay, and putting a new version of the
weights into the object store for each rollout. The rate of one real worker is measured in the same run.

The learner also updates. With the CPU time of an update, measured here too, the transitions per second
at a ratio of r updates per transition are modelled as `1 / (ingest + r * update)`, from the times per
transition and per update.

    mtrl bench ingest
    mtrl bench ingest --tasks reach-v3 --rollouts 20 --width 32 --batch 8
"""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from typing import Any

import numpy as np
import torch

from mtrl.bench.bench_options import LearnerSize, Simulation, option
from mtrl.bench.ray_workers import IN_FLIGHT
from mtrl.bench.text_table import text_table
from mtrl.bench.timing import lower_quartile, thread_seconds
from mtrl.distributed.cluster import ray_session
from mtrl.distributed.config import RayConfig
from mtrl.envs import TaskSet, load_tasks
from mtrl.envs.config import EnvConfig
from mtrl.rl.acting.env_runner import EnvRunner
from mtrl.rl.acting.fragment import Fragment, Rollout
from mtrl.rl.acting.policy import acting_policy, flat_weights
from mtrl.rl.config import BalancingConfig, NetworkConfig, SACConfig
from mtrl.rl.learning.replay import Replay
from mtrl.rl.learning.sac import MultiTaskSAC
from mtrl.runs.malloc import keep_freed_memory

RATIOS = (0.01, 0.04, 0.1)
"""Updates per transition that the model is asked for."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(LearnerSize, Simulation):
    """Options of `mtrl bench ingest`."""

    method: str = option("pivrg", "balancing method of the updates")
    chunk: int = option(200, "steps of each environment in a rollout")
    rollouts: int = option(200, "made-up ones that the learner takes in")
    workers: int = option(2, "without physics")
    updates: int = option(8, "to time")


def measure(options: Options) -> dict[str, Any]:
    """Measured rates, and the model's for several ratios of updates."""
    torch.set_num_threads(1)
    keep_freed_memory()  # as a training does
    tasks = load_tasks(EnvConfig(tasks=options.task_names()))
    networks = NetworkConfig(options.widths, options.widths)
    agent = MultiTaskSAC(
        len(tasks),
        tasks.obs_dim,
        tasks.action_dim,
        networks=networks,
        sac=SACConfig(),
        balancing=BalancingConfig(),
        method=options.method,
        seed=options.seed,
    )
    with ray_session(RayConfig()):
        taken = ingest(options, tasks, agent)
    rate, update = worker_rate(options, tasks, networks), update_seconds(options, tasks, agent)
    modelled = []
    for ratio in RATIOS:
        transitions = 1 / (1e-6 * taken["us per transition"] + ratio * update)
        modelled.append(
            {
                "updates per transition": ratio,
                "transitions/s": transitions,
                "cores": transitions / rate,
            }
        )
    return {
        **taken,
        "cores": taken["transitions/s"] / rate,
        "one worker steps/s": rate,
        "update ms": 1e3 * update,
        "modelled": modelled,
    }


def show(result: dict[str, Any]) -> str:
    """A table of measured figures and one of the model's."""
    facts = [{"fact": k, "value": v} for k, v in result.items() if k != "modelled"]
    return f"{text_table(facts)}\nmodelled, with updates:\n{text_table(result['modelled'])}"


class Synthetic:
    """A worker whose rollouts cost nothing but their transport."""

    def __init__(self, m: int, steps: int, obs_dim: int, action_dim: int) -> None:
        rng = np.random.default_rng(0)
        fragments = [
            Fragment(
                task,
                rng.standard_normal((steps + 1, obs_dim), dtype=np.float32),
                rng.uniform(-1, 1, (steps, action_dim)).astype(np.float32),
                rng.uniform(0, 10, steps).astype(np.float32),
                False,
                None,
            )
            for task in range(m)
        ]
        self.rollout = Rollout(0, 0, 0, 0, m * steps, fragments)

    def answer(self, weights: np.ndarray) -> Rollout:
        """The same rollout each time; the weights are fetched and not used."""
        del weights
        return self.rollout


def ingest(options: Options, tasks: TaskSet, agent: MultiTaskSAC) -> dict[str, float]:
    """Transitions per second of wall time, and the learner's CPU time for each."""
    import ray  # after the session has set its environment

    replay = _replay(tasks, agent)
    synthetic: Any = ray.remote(num_cpus=0.1)(Synthetic)
    sizes = len(tasks), options.chunk, tasks.obs_dim, tasks.action_dim
    workers = [synthetic.remote(*sizes) for _ in range(options.workers)]
    flying: deque[Any] = deque()
    weights = ray.put(flat_weights(agent.actor))
    for _ in range(IN_FLIGHT):
        flying.extend(worker.answer.remote(weights) for worker in workers)
    ray.wait(list(flying), num_returns=len(flying))  # the workers are up
    start, own, taken = time.perf_counter(), time.thread_time(), 0
    for turn in range(options.rollouts):
        rollout: Any = ray.get(flying.popleft())
        for fragment in rollout.fragments:
            replay.add(fragment)
        taken += rollout.env_steps
        weights = ray.put(flat_weights(agent.actor))
        flying.append(workers[turn % len(workers)].answer.remote(weights))
    wall, own = time.perf_counter() - start, time.thread_time() - own
    return {"transitions/s": taken / wall, "us per transition": 1e6 * own / taken}


def update_seconds(options: Options, tasks: TaskSet, agent: MultiTaskSAC) -> float:
    """CPU time of sampling a batch and learning from it."""
    replay = _replay(tasks, agent)
    rng = np.random.default_rng(0)
    for task in range(len(tasks)):
        obs = rng.standard_normal((options.chunk + 1, tasks.obs_dim), dtype=np.float32)
        action = rng.uniform(-1, 1, (options.chunk, tasks.action_dim)).astype(np.float32)
        replay.add(Fragment(task, obs, action, np.zeros(options.chunk, np.float32), False, None))
    performance = torch.linspace(0, 1, len(tasks))
    times = [
        thread_seconds(lambda: agent.update(replay.sample(options.batch), performance))
        for _ in range(options.updates + 1)
    ]
    return lower_quartile(times[1:])


def worker_rate(options: Options, tasks: TaskSet, networks: NetworkConfig) -> float:
    """Environment steps per second of CPU time of a real worker, resets included."""
    runner = EnvRunner(tasks, acting_policy(tasks, networks), seed=options.seed)
    runner.rollout(10, 0)
    spent = thread_seconds(lambda: runner.rollout(options.chunk, 1))
    return len(tasks) * options.chunk / spent


def _replay(tasks: TaskSet, agent: MultiTaskSAC) -> Replay:
    return Replay(
        len(tasks), 20_000, tasks.obs_dim, tasks.action_dim, discount=0.99, device=agent.device
    )
