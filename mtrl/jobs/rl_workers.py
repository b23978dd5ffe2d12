"""Workers of `mtrl train` and `mtrl eval`: in this process, or on Ray."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mtrl.distributed.cluster import count_cpus
from mtrl.distributed.waiting import to_stderr
from mtrl.envs import TaskSet
from mtrl.jobs.config import TrainConfig
from mtrl.rl.acting.env_runner import EnvRunner
from mtrl.rl.acting.interfaces import Collector, Evaluator
from mtrl.rl.acting.local import LocalCollector, LocalEvaluator
from mtrl.runs.interrupt import Interrupt


def make_workers(
    config: TrainConfig,
    tasks: TaskSet,
    interrupt: Interrupt,
    say: Callable[[str], None],
) -> tuple[Collector, Evaluator]:
    """What collects and what evaluates: in this process, or on a Ray that runs already.

    Args:
        config: of the run.
        tasks: in the order of the networks' heads.
        interrupt: the signals received.
        say: shows a message.

    Returns:
        A collector that has not started, and an evaluator.
    """
    collect = config.collect
    options: dict[str, Any] = {
        "seed": config.seed,
        "num_workers": collect.num_workers,
        "envs_per_task": collect.envs_per_task,
        "reward_normalization": config.env.reward_normalization,
    }
    if collect.collector == "ray":
        from mtrl.distributed.collector import RayCollector

        collector = RayCollector(
            tasks,
            config.networks,
            rollout_steps=collect.rollout_steps,
            cpus_per_worker=config.ray.cpus_per_worker,
            max_restarts=collect.max_restarts,
            interrupt=interrupt,
            say=say,
            **options,
        )
        return collector, make_evaluator(config, tasks, interrupt, say)

    from mtrl.rl.acting.policy import acting_policy

    def make_runner(worker: int, incarnation: int) -> EnvRunner:
        policy = acting_policy(tasks, config.networks, collect.envs_per_task)
        return EnvRunner(tasks, policy, worker=worker, incarnation=incarnation, **options)

    local = LocalCollector(make_runner, collect.num_workers, collect.rollout_steps)
    return local, make_evaluator(config, tasks, interrupt, say)


def make_evaluator(
    config: TrainConfig,
    tasks: TaskSet,
    interrupt: Interrupt,
    say: Callable[[str], None] = to_stderr,
) -> Evaluator:
    """What evaluates a policy: in this process, or on the CPUs of a Ray that runs already.

    Args:
        config: of the run.
        tasks: in the order of the networks' heads.
        interrupt: the signals received.
        say: shows a message.
    """
    goals = config.evaluation.goals
    if config.collect.collector == "local":
        from mtrl.rl.acting.policy import acting_policy

        return LocalEvaluator(tasks, acting_policy(tasks, config.networks), goals)
    from mtrl.distributed.evaluator import RayEvaluator

    # The learner rests during a full evaluation, so its core can evaluate too.
    shards = int(count_cpus() / config.ray.cpus_per_worker)
    return RayEvaluator(
        tasks,
        config.networks,
        goals=goals,
        shards=shards,
        cpus_per_worker=config.ray.cpus_per_worker,
        interrupt=interrupt,
        say=say,
    )
