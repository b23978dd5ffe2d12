"""Puts a training job together: checks, Ray, workers, learner, loop."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from mtrl.balancing import check_options, method_class, method_options, reads_performance
from mtrl.balancing.base import Weighting
from mtrl.distributed.cluster import check_cluster, describe, ray_session
from mtrl.distributed.waiting import to_stderr
from mtrl.envs import TaskSet, load_tasks, task_names
from mtrl.jobs.config import TrainConfig
from mtrl.networks import check_architecture
from mtrl.rl.acting.env_runner import EnvRunner
from mtrl.rl.acting.evaluation import Evaluation
from mtrl.rl.acting.interfaces import Collector, Evaluator
from mtrl.rl.acting.local import LocalCollector, LocalEvaluator
from mtrl.rl.acting.policy import flat_weights
from mtrl.rl.baseline import read_baseline
from mtrl.rl.learning.replay import Replay
from mtrl.rl.learning.sac import MultiTaskSAC, actor_method
from mtrl.rl.performance import PerformanceTracker
from mtrl.rl.schedule import Schedule
from mtrl.rl.telemetry import PARTS, Telemetry
from mtrl.rl.trained_policy import restore_actor
from mtrl.rl.trainer import Outcome, Trainer
from mtrl.runs.device import check_device, check_precision, pick_device, set_precision
from mtrl.runs.directory import RunDirectory
from mtrl.runs.interrupt import Interrupt
from mtrl.runs.learned_weights import read_learned_weights
from mtrl.runs.malloc import keep_freed_memory
from mtrl.runs.metric_log import MetricLog
from mtrl.runs.progress import View


def check(config: TrainConfig) -> None:
    """What methods, tasks and device say about a configuration, before any worker starts.

    Raises:
        ValueError: something in it cannot be had; the message names object, expectation,
            finding and remedy.
    """
    config = _with_weights(config, task_names(config.env.tasks))
    check_options(config.method, dict(config.method_options))
    actor_method(config.method, config.method_options, config.balancing)
    check_architecture(config.networks.architecture, config.networks.architecture_options)
    if config.balancing.head_scaling == "weights" and not issubclass(
        method_class(config.method), Weighting
    ):
        raise ValueError(
            f"`balancing.head_scaling: weights` needs a method with task weights; {config.method!r}"
            " works on coordinates. Use `auto`."
        )
    _check_performance(config)
    check_device(config.device)
    check_precision(config.precision, pick_device(config.device))


def _with_weights(config: TrainConfig, tasks: Sequence[str]) -> TrainConfig:
    """The config with `method_options.log`, where a method takes weights, replaced by them."""
    if "weights" not in method_options(config.method):
        return config
    options = read_learned_weights(config.method_options, tasks, "balance/weight/critic")
    return dataclasses.replace(config, method_options=options)


def _check_performance(config: TrainConfig) -> None:
    """Whether the success rates that a method asks for can ever be known."""
    names, balancing, evaluation = task_names(config.env.tasks), config.balancing, config.evaluation
    if balancing.baseline:
        read_baseline(Path(balancing.baseline), names)
    actor = actor_method(config.method, config.method_options, balancing)
    if not (
        reads_performance(config.method, config.method_options)
        or (actor != config.method and reads_performance(actor, {}))
    ):
        return
    window = balancing.window_env_steps
    if balancing.performance == "evaluation":
        if evaluation.interval_env_steps == 0:
            raise ValueError(
                "`balancing.performance: evaluation` needs periodic evaluations;"
                " `evaluation.interval_env_steps` is 0. Set an interval, or use `training`."
            )
        goals = min(evaluation.goals, config.env.num_goals)
        episodes = goals * -(-window // evaluation.interval_env_steps)
        remedy = "evaluate more goals or more often"
    else:
        round_env_steps = config.collect.round_env_steps(len(names), config.env.horizon)
        episodes = max(window, round_env_steps) // (len(names) * config.env.horizon)
        remedy = "raise `balancing.window_env_steps`"
    if episodes < balancing.min_episodes:
        raise ValueError(
            f"{config.method!r} reads success rates of at least `balancing.min_episodes`"
            f" ({balancing.min_episodes}) episodes per task, and `balancing.window_env_steps` ({window})"
            f" holds {episodes}: every omega would stay 1. Lower `balancing.min_episodes`, or {remedy}."
        )


def check_initial(config: TrainConfig, initial: dict[str, Any]) -> None:
    """Whether a run can start from the networks in a checkpoint's state.

    Raises:
        ValueError: they are of other tasks or sizes.
    """
    found = initial["policy"]
    if found["tasks"] != task_names(config.env.tasks):
        raise ValueError(
            f"`--init-from` names a run of other tasks: {', '.join(found['tasks'])}. Set `env.tasks`"
            " to them."
        )
    if found["networks"] != dataclasses.asdict(config.networks):
        raise ValueError(
            f"`--init-from` names a run with other networks: {found['networks']}. Set `networks` to"
            " the same."
        )


def train(
    config: TrainConfig,
    run: RunDirectory,
    view: View,
    interrupt: Interrupt,
    *,
    state: dict[str, Any] | None = None,
    initial: dict[str, Any] | None = None,
) -> tuple[Outcome, TaskSet]:
    """Run a training job to its end or to an interruption.

    Args:
        config: checked by :func:`check`.
        run: the locked run directory.
        view: shows progress.
        interrupt: the signals received.
        state: of the checkpoint to resume from.
        initial: the state whose networks a new run starts from.
    """
    tasks = load_tasks(config.env)
    config = _with_weights(config, tasks.names)
    if config.learner_threads:
        torch.set_num_threads(config.learner_threads)
    device = pick_device(config.device)
    if device.type == "cpu":
        keep_freed_memory()
    set_precision(config.precision)
    agent = _agent(config, tasks, device)
    if initial is not None:
        agent.load_networks(initial["agent"])
    _announce(config, agent, device, view)
    log = MetricLog(
        run.path,
        tasks.names,
        tensorboard=config.run.tensorboard,
        purge_step=state["schedule"]["env_steps"] if state else None,
        parts=PARTS,
    )
    uses_ray = config.collect.collector == "ray"
    with contextlib.ExitStack() as stack:
        stack.callback(log.close)
        if uses_ray:
            view.message(describe(config.ray))
            stack.enter_context(ray_session(config.ray))
            interrupt.install()
            check_cluster(config)
        collector, evaluator = _workers(config, tasks, interrupt, view.message, state)
        stack.callback(collector.close)
        stack.callback(evaluator.close)
        schedule = Schedule(config.schedule, config.collect.rollout_env_steps(len(tasks)))
        performance = _performance(config, tasks, run)
        telemetry = Telemetry(
            run=run,
            log=log,
            view=view,
            schedule=schedule,
            performance=performance,
            config=config.run,
            method=config.method,
            num_workers=config.collect.num_workers,
        )
        trainer = Trainer(
            tasks=tasks,
            agent=agent,
            replay=_replay(config, tasks, device),
            schedule=schedule,
            performance=performance,
            collector=collector,
            evaluator=evaluator,
            run=run,
            telemetry=telemetry,
            interrupt=interrupt,
            config=config.run,
            evaluation=config.evaluation,
            in_flight=config.collect.in_flight,
            cuda_graphs=config.cuda_graphs,
        )
        if state is not None:
            trainer.load_state_dict(state)
        return trainer.run(), tasks


def evaluate_run(
    config: TrainConfig, state: dict[str, Any], interrupt: Interrupt
) -> tuple[Evaluation, TaskSet]:
    """Evaluate the policy of a checkpoint on every goal of every task.

    Only the actor is built: the method that trained it need not be installed.
    """
    tasks = load_tasks(config.env)
    weights, version = flat_weights(restore_actor(state)), state["agent"]["updates"]
    with contextlib.ExitStack() as stack:
        if config.collect.collector == "ray":
            stack.enter_context(ray_session(config.ray))
            interrupt.install()
            check_cluster(config)
        evaluator = _evaluator(config, tasks, interrupt)
        stack.callback(evaluator.close)
        return evaluator.full(weights, version), tasks


def _agent(config: TrainConfig, tasks: TaskSet, device: torch.device) -> MultiTaskSAC:
    return MultiTaskSAC(
        len(tasks),
        tasks.obs_dim,
        tasks.action_dim,
        networks=config.networks,
        sac=config.sac,
        balancing=config.balancing,
        method=config.method,
        method_options=config.method_options,
        device=device,
        precision=config.precision,
        seed=config.seed,
    )


def _performance(config: TrainConfig, tasks: TaskSet, run: RunDirectory) -> PerformanceTracker:
    balancing = config.balancing
    return PerformanceTracker(
        len(tasks),
        balancing.window_env_steps,
        round_env_steps=config.collect.round_env_steps(len(tasks), config.env.horizon),
        source=balancing.performance,
        smoothing=balancing.smoothing,
        min_episodes=balancing.min_episodes,
        baseline=_baseline(balancing.baseline, tasks, run) if balancing.baseline else None,
    )


def _baseline(path: str, tasks: TaskSet, run: RunDirectory) -> list[float]:
    """The run's own copy once it has one, so that a resumed run compares with the same numbers."""
    kept = run.path / "baseline.json"
    if not kept.exists():
        run.write_json(kept.name, read_baseline(Path(path), tasks.names))
    return list(read_baseline(kept, tasks.names).values())


def _replay(config: TrainConfig, tasks: TaskSet, device: torch.device) -> Replay:
    return Replay(
        len(tasks),
        config.replay.capacity,
        tasks.obs_dim,
        tasks.action_dim,
        discount=config.sac.discount,
        n_step=config.sac.n_step,
        device=device,
        seed=config.seed + 2,
    )


def _workers(
    config: TrainConfig,
    tasks: TaskSet,
    interrupt: Interrupt,
    say: Callable[[str], None],
    state: dict[str, Any] | None,
) -> tuple[Collector, Evaluator]:
    saved = state["collector"] if state else None
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
            state=saved,
            **options,
        )
        collector.wait_until_ready()
        return collector, _evaluator(config, tasks, interrupt, say)

    from mtrl.rl.acting.policy import acting_policy

    def make_runner(worker: int, incarnation: int) -> EnvRunner:
        policy = acting_policy(tasks, config.networks, collect.envs_per_task)
        return EnvRunner(tasks, policy, worker=worker, incarnation=incarnation, **options)

    local = LocalCollector(make_runner, collect.num_workers, collect.rollout_steps, saved)
    return local, _evaluator(config, tasks, interrupt, say)


def _evaluator(
    config: TrainConfig,
    tasks: TaskSet,
    interrupt: Interrupt,
    say: Callable[[str], None] = to_stderr,
) -> Evaluator:
    goals = config.evaluation.goals
    if config.collect.collector == "local":
        from mtrl.rl.acting.policy import acting_policy

        return LocalEvaluator(tasks, acting_policy(tasks, config.networks), goals)
    import ray

    from mtrl.distributed.evaluator import RayEvaluator

    # The learner rests during a full evaluation, so its core can evaluate too.
    shards = int(ray.cluster_resources().get("CPU", 1) / config.ray.cpus_per_worker)
    return RayEvaluator(
        tasks,
        config.networks,
        goals=goals,
        shards=shards,
        cpus_per_worker=config.ray.cpus_per_worker,
        interrupt=interrupt,
        say=say,
    )


def _announce(config: TrainConfig, agent: MultiTaskSAC, device: torch.device, view: View) -> None:
    schedule = config.schedule
    if schedule.warmup < schedule.warmup_env_steps:
        view.message(
            f"Warm-up takes {schedule.warmup:,} steps, half of this short run, in place of"
            f" {schedule.warmup_env_steps:,}."
        )
    methods = agent.methods
    view.message(
        f"Learner on {device}; balancing: {methods['critic']} for the critic, {methods['actor']} for"
        " the actor."
    )
    for part, balancer in agent.balancers.items():
        state_mb = sum(b.numel() * b.element_size() for b in balancer.method.buffers()) / 2**20
        if state_mb >= 1:
            view.message(f"The method's state for the {part} takes {state_mb:.0f} MB.")
