"""Options of training; the names are the keys of the sections of a config file. No torch here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, MinLen

from mtrl.runs.naming import check_run_name

Width = Annotated[int, Ge(1), Le(16384)]
Positive = Annotated[float, Gt(0)]


@dataclass(frozen=True)
class NetworkConfig:
    """Actor and critic.

    Attributes:
        actor: widths of the actor's trunk.
        critic: widths of each of the two critics' trunks.
        actor_layer_norm, critic_layer_norm: LayerNorm after each linear layer of the trunk.
        architecture: of actor and critics, a name in `mtrl.networks.ARCHITECTURES`: `multi_head` has
            an output layer per task, `single_head` one that all tasks share.
        architecture_options: its own options.
        task_one_hot: append the task's one-hot to the input.
        log_std_min, log_std_max: bounds of the policy's log standard deviation.
    """

    actor: Annotated[list[Width], MinLen(1)]
    critic: Annotated[list[Width], MinLen(1)]
    actor_layer_norm: bool = False
    critic_layer_norm: bool = False
    architecture: str = "multi_head"
    architecture_options: dict[str, Any] = field(default_factory=dict)
    task_one_hot: bool = True
    log_std_min: float = -20.0
    log_std_max: float = 2.0


@dataclass(frozen=True)
class SACConfig:
    """Soft actor-critic.

    Attributes:
        batch_size: transitions per task in an update.
        discount: per environment step.
        n_step: rewards summed before bootstrapping; 1 is plain SAC.
        tau: share of the online critics that enters the targets at each update.
        actor_lr, critic_lr, temperature_lr: learning rates of Adam.
        adam_eps: Adam's epsilon.
        max_grad_norm: bound on the gradient of trunk and of heads, after aggregation; 0 is none.
        actor_interval: critic updates per update of the actor and the temperatures.
        temperature: one per task, or one shared by all.
        initial_temperature: alpha at the start.
        min_temperature: floor of alpha; 0 is none.
        target_entropy: of the policy, per task, in nats.
        reward_scaling: `mean` multiplies each task's reward so that all tasks have the mean reward of
            the best-paid (ARS); measured after warm-up and at resets. `none` leaves rewards.
        reward_factor: multiplies every reward.
        resets: how many times all networks are initialised anew, evenly spaced over the run; replay
            is kept.
        updates_after_reset: updates at once after a reset, without new data.
    """

    batch_size: Annotated[int, Ge(1)] = 128
    discount: Annotated[float, Ge(0), Le(1)] = 0.99
    n_step: Annotated[int, Ge(1), Le(100)] = 1
    tau: Annotated[float, Gt(0), Le(1)] = 0.005
    actor_lr: Positive = 3e-4
    critic_lr: Positive = 3e-4
    temperature_lr: Positive = 3e-4
    adam_eps: Positive = 1e-5
    max_grad_norm: Annotated[float, Ge(0)] = 1.0
    actor_interval: Annotated[int, Ge(1)] = 1
    temperature: Literal["per_task", "shared"] = "per_task"
    initial_temperature: Positive = 1.0
    min_temperature: Annotated[float, Ge(0)] = 0.0
    target_entropy: float = -4.0
    reward_scaling: Literal["none", "mean"] = "none"
    reward_factor: Positive = 1.0
    resets: Annotated[int, Ge(0)] = 0
    updates_after_reset: Annotated[int, Ge(0)] = 1000


@dataclass(frozen=True)
class BalancingConfig:
    """What surrounds the balancing method.

    Attributes:
        clip: bound trunk and heads separately, or jointly.
        head_scaling: what the gradient of a task's head is multiplied by: 1 (`unit`), the task's weight
            (`weights`), or its weight where the method weighs losses and 1 where it works on gradients
            (`auto`).
        actor_method: the actor's balancing method; `same` as the critic's, or `ls` where that one needs
            positive losses, which the actor's are not.
        performance: what performance-informed methods read: success rates of `training` episodes, of
            the exploring policies, or of periodic evaluations (`evaluation`), of deterministic ones.
        window_env_steps: environment steps, over all tasks and workers, whose episodes count. Where
            one episode of every environment takes longer, the training window is that long.
        min_episodes: a task with fewer in the window says nothing: its omega is 1.
        smoothing: `shared_prior` pulls the tasks' rates together as far as chance alone may have parted
            them (`mtrl.rl.success_rate`); `none` takes successes / episodes, as published.
        baseline: JSON file of the success rate of every task when trained alone, which performance is
            compared with (`mtrl.rl.baseline`); empty compares with 1. The run keeps a copy.
    """

    clip: Literal["separate", "joint"] = "separate"
    head_scaling: Literal["auto", "unit", "weights"] = "auto"
    actor_method: str = "same"
    performance: Literal["training", "evaluation"] = "training"
    window_env_steps: Annotated[int, Ge(1)] = 500_000
    min_episodes: Annotated[int, Ge(1)] = 10
    smoothing: Literal["shared_prior", "none"] = "shared_prior"
    baseline: str = ""


@dataclass(frozen=True)
class ScheduleConfig:
    """How collection and learning go together.

    Attributes:
        total_env_steps: environment steps of the run, over all tasks and workers.
        warmup_env_steps: steps of uniformly random actions before the first update. A run that is cut
            short still learns: warm-up takes half of it at the most (:attr:`warmup`).
        updates_per_env_step: ratio of updates to environment steps, held from both sides.
        mode: `sync` inserts rollouts in a fixed order and is bit-reproducible on one machine; `async`
            takes whichever is ready.
        slack_env_steps: how far (async) collection may run ahead of the ratio.
        publish_interval: updates between two versions of the policy sent to workers.
        max_policy_lag: how many updates the learner may be ahead (async) of the oldest policy that a
            worker is still acting with; beyond, it waits for that worker.
    """

    total_env_steps: Annotated[int, Ge(0)] = 20_000_000
    warmup_env_steps: Annotated[int, Ge(0)] = 40_000
    updates_per_env_step: Positive = 0.1
    mode: Literal["sync", "async"] = "async"
    slack_env_steps: Annotated[int, Ge(0)] = 20_000
    publish_interval: Annotated[int, Ge(1)] = 50
    max_policy_lag: Annotated[int, Ge(1)] = 20_000

    @property
    def warmup(self) -> int:
        """Steps of warm-up that the run has."""
        return min(self.warmup_env_steps, self.total_env_steps // 2)


@dataclass(frozen=True)
class CollectConfig:
    """Rollout workers.

    Attributes:
        collector: `ray` (workers as Ray actors) or `local` (in this process, for debugging).
        num_workers: workers; each steps environments of every task in lockstep.
        envs_per_task: environments of each task in a worker, each with about 20 MB of simulator. The
            policy acts for all of them at once, so its time per step falls with their number.
        rollout_steps: steps of each environment in one rollout.
        in_flight: rollouts requested ahead from each worker.
        max_restarts: worker deaths survived before the run fails.
    """

    collector: Literal["ray", "local"] = "ray"
    num_workers: Annotated[int, Ge(1)] = 1
    envs_per_task: Annotated[int, Ge(1), Le(64)] = 1
    rollout_steps: Annotated[int, Ge(1), Le(10_000)] = 200
    in_flight: Annotated[int, Ge(1), Le(8)] = 2
    max_restarts: Annotated[int, Ge(0)] = 20

    def round_env_steps(self, num_tasks: int, horizon: int) -> int:
        """Environment steps in which every environment of every worker finishes an episode."""
        return self.num_workers * self.envs_per_task * num_tasks * horizon

    def rollout_env_steps(self, num_tasks: int) -> int:
        """Environment steps in one rollout of one worker."""
        return self.rollout_steps * self.envs_per_task * num_tasks


@dataclass(frozen=True)
class ReplayConfig:
    """Replay.

    Attributes:
        capacity: transitions per task.
    """

    capacity: Annotated[int, Ge(1)] = 100_000


@dataclass(frozen=True)
class EvaluationConfig:
    """Evaluation: deterministic policy, success at any step of the horizon.

    Attributes:
        interval_env_steps: environment steps between periodic evaluations; 0 is never.
        goals: goals per task in a periodic evaluation, the first ones.
        final: evaluate every goal of every task once at the end.
    """

    interval_env_steps: Annotated[int, Ge(0)] = 1_000_000
    goals: Annotated[int, Ge(1)] = 10
    final: bool = True


@dataclass(frozen=True)
class RunConfig:
    """The run directory and what is written to it.

    Attributes:
        name: first part of the run directory's name.
        directory: where run directories are made.
        log_interval_s: seconds between two records of `timing.jsonl` and of the terminal.
        log_interval_updates: updates between two records of `metrics.jsonl`.
        diagnostics_interval_updates: updates between two with diagnostics: measures of conflict in
            the log, Gramians in `gramians.bin`; 0 is never.
        checkpoint_interval_env_steps: steps between checkpoints; 0 sets no such interval.
        checkpoint_interval_s: wall time between checkpoints in seconds, beside the steps: whichever
            comes first; 0 sets no such interval.
        keep_checkpoints: the newest ones kept.
        tensorboard: write event files.
    """

    name: str = "mt10"
    directory: str = "runs"
    log_interval_s: Positive = 10.0
    log_interval_updates: Annotated[int, Ge(1)] = 500
    diagnostics_interval_updates: Annotated[int, Ge(0)] = 100
    checkpoint_interval_env_steps: Annotated[int, Ge(0)] = 1_000_000
    checkpoint_interval_s: Annotated[float, Ge(0)] = 300.0
    keep_checkpoints: Annotated[int, Ge(1)] = 2
    tensorboard: bool = True

    def __post_init__(self) -> None:
        """Refuse a name that is no part of a folder's name."""
        check_run_name(self.name)
