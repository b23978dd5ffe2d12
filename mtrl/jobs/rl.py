"""What `mtrl train` does: check, make a run, build its parts, train."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import torch

from mtrl.balancing import arm_name
from mtrl.config import Resolved
from mtrl.distributed.cluster import check_cluster, describe, ray_session
from mtrl.envs import TaskSet, load_tasks
from mtrl.jobs.checks import refusals, with_weights
from mtrl.jobs.config import TrainConfig
from mtrl.jobs.lifecycle import Job, carry_out, create
from mtrl.jobs.rl_checks import WEIGHTS_KEY, check_initial, check_training
from mtrl.jobs.rl_workers import make_workers
from mtrl.rl.baseline import read_baseline
from mtrl.rl.learning.learner import Learner, cuda_graph_pools
from mtrl.rl.learning.replay import Replay
from mtrl.rl.learning.sac import MultiTaskSAC
from mtrl.rl.parts import Parts
from mtrl.rl.performance import PerformanceTracker
from mtrl.rl.schedule import ResetSchedule, Schedule
from mtrl.rl.telemetry import PARTS, Telemetry
from mtrl.rl.trainer import Outcome, Trainer
from mtrl.runs import checkpoint
from mtrl.runs.device import pick_device, set_precision
from mtrl.runs.directory import RunDirectory
from mtrl.runs.interrupt import Interrupt
from mtrl.runs.malloc import keep_freed_memory
from mtrl.runs.metric_log import MetricLog
from mtrl.runs.naming import find_run
from mtrl.runs.progress import View
from mtrl.runs.stopwatch import Stopwatch


def new_job(resolved: Resolved[TrainConfig], init_from: str | None = None) -> Job:
    """A new run, once everything that can be refused has been looked at.

    Args:
        resolved: the configuration.
        init_from: the run whose networks it starts from.

    Raises:
        ConfigError: methods, tasks, networks or device are wrong.
        RunDirectoryError: there is no run to start from, or no directory can be made.
    """
    config, initial = resolved.config, None
    source = find_run(init_from) if init_from else None
    with refusals():
        check_training(config)
        if source is not None:
            _, initial = checkpoint.load_latest(source.checkpoints)
            check_initial(config, initial)
    name = f"{config.run.name}-{arm_name(config.method, config.method_options)}"
    return create("train", resolved, name, initial)


def run_job(job: Job) -> Outcome:
    """Train a run to its end or to an interruption; the signals end it with a checkpoint."""

    def start(view: View, interrupt: Interrupt) -> Outcome:
        state, initial = job.state, job.initial
        return train(job.config, job.run, view, interrupt, state=state, initial=initial)

    return carry_out(job, start)[0]


def train(
    config: TrainConfig,
    run: RunDirectory,
    view: View,
    interrupt: Interrupt,
    *,
    state: dict[str, Any] | None = None,
    initial: dict[str, Any] | None = None,
) -> Outcome:
    """Run a training job to its end or to an interruption.

    Args:
        config: checked by :func:`check_training`.
        run: the locked run directory.
        view: shows progress.
        interrupt: the signals received.
        state: of the checkpoint to resume from.
        initial: the state whose networks a new run starts from.
    """
    tasks = load_tasks(config.env)
    config = with_weights(config, tasks.names, WEIGHTS_KEY)
    if config.learner_threads:
        torch.set_num_threads(config.learner_threads)
    device = pick_device(config.device)
    if device.type == "cpu":
        keep_freed_memory()
    set_precision(config.precision)
    clock = Stopwatch()
    agent = _agent(config, tasks, device, clock)
    if initial is not None:
        agent.load_networks(initial["agent"])
    _announce(config, agent, device, view)
    log = MetricLog(run.path, tasks.names, tensorboard=config.run.tensorboard, parts=PARTS)
    uses_ray = config.collect.collector == "ray"
    with contextlib.ExitStack() as stack:
        stack.callback(log.close)
        if uses_ray:
            view.message(describe(config.ray))
            stack.enter_context(ray_session(config.ray))
            interrupt.install()
            check_cluster(config.collect.num_workers, config.ray.cpus_per_worker)
        collector, evaluator = make_workers(config, tasks, interrupt, view.message)
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
            clock=clock,
            config=config.run,
            method=config.method,
            num_workers=config.collect.num_workers,
        )
        replay = _replay(config, tasks, device)
        learner = Learner(
            agent,
            replay,
            baseline=performance.baseline,
            new_pool=cuda_graph_pools(agent, replay) if config.cuda_graphs else None,
            clock=clock,
        )
        parts = Parts(
            tasks=tasks,
            learner=learner,
            schedule=schedule,
            resets=ResetSchedule(config.sac.resets, schedule.total_env_steps),
            performance=performance,
            collector=collector,
            evaluator=evaluator,
            directory=run,
            telemetry=telemetry,
            interrupt=interrupt,
            clock=clock,
        )
        if state is not None:
            parts.load_state_dict(state)
        collector.start()
        trainer = Trainer(parts, config.run, config.evaluation, in_flight=config.collect.in_flight)
        return trainer.run()


def _agent(
    config: TrainConfig, tasks: TaskSet, device: torch.device, clock: Stopwatch
) -> MultiTaskSAC:
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
        clock=clock,
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
