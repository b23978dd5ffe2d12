"""What `mtrl eval` does."""

from __future__ import annotations

import contextlib
from typing import Any

from mtrl.distributed.cluster import check_cluster, ray_session
from mtrl.envs import load_tasks
from mtrl.jobs.config import TrainConfig
from mtrl.jobs.rl_workers import make_evaluator
from mtrl.rl.acting.policy import flat_weights
from mtrl.rl.trained_policy import restore_actor
from mtrl.runs import checkpoint
from mtrl.runs.directory import RunDirectory
from mtrl.runs.interrupt import Interrupt


def evaluate_run(run: RunDirectory, config: TrainConfig) -> tuple[dict[str, Any], int | None]:
    """Evaluate the policy in a run's last checkpoint on every goal of every task.

    Only the actor is built: the method that trained it need not be installed.

    Args:
        run: its directory; it need not be locked.
        config: of the run.

    Returns:
        See `Evaluation.to_json`, with `checkpoint` and `run`; empty if a signal came meanwhile, whose
        number comes with it.
    """
    path, state = checkpoint.load_latest(run.checkpoints)
    tasks = load_tasks(config.env)
    weights, version = flat_weights(restore_actor(state)), state["schedule"]["updates"]
    with contextlib.ExitStack() as stack:
        interrupt = stack.enter_context(Interrupt())
        if config.collect.collector == "ray":
            stack.enter_context(ray_session(config.ray))
            interrupt.install()
            check_cluster(config.collect.num_workers, config.ray.cpus_per_worker)
        evaluator = make_evaluator(config, tasks, interrupt)
        stack.callback(evaluator.close)
        evaluation = evaluator.full(weights, version)
        if interrupt.signal is not None:
            return {}, interrupt.signal
    names = {"checkpoint": path.name, "run": str(run.path)}
    return evaluation.to_json(tasks.names) | names, None
