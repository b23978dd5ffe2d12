"""Multi-task soft actor-critic: one policy, one pair of critics, balanced trunk gradients."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mtrl.balancing import Performance, Step
from mtrl.balancing.foreach import lerp_
from mtrl.networks import Architecture, sample_squashed, squash_log_std
from mtrl.rl.acting.policy import build_actor
from mtrl.rl.config import BalancingConfig, NetworkConfig, SACConfig
from mtrl.rl.learning.builders import actor_method, build_adam, build_balancer, build_critic
from mtrl.rl.learning.losses import (
    actor_losses,
    critic_losses,
    critic_targets,
    temperature_gradient,
)
from mtrl.rl.learning.replay import Batch
from mtrl.runs.nan_guard import guarded_step
from mtrl.runs.stopwatch import Stopwatch

Metrics = dict[str, Tensor]


@dataclass(frozen=True)
class Update:
    """What one update found. All tensors are detached.

    Attributes:
        finite: scalar; whether all losses were finite. If not, the update changed nothing.
        masked: scalar; whether a task was left out of a balanced step.
        steps: of each part that was updated, `critic` and maybe `actor`.
        metrics: for the log, named `part/fact`.
    """

    finite: Tensor
    masked: Tensor
    steps: dict[str, Step]
    metrics: Metrics


class MultiTaskSAC:
    """Learns from task-major batches. Nothing in :meth:`update` waits for the device.

    It counts no updates: its caller does, and asks :meth:`actor_due`.

    Args:
        num_tasks: m.
        obs_dim, action_dim: sizes.
        networks, sac, balancing: options.
        method: name of the balancing method; the actor's may differ (see :attr:`methods`).
        method_options: its options.
        device: where everything lives.
        precision: `bf16` computes the trunks' products in it (see `networks.layers`); parameters, heads,
            losses, optimisers and what is done with gradients stay in float32.
        seed: of initialisation, action noise and the methods.
        clock: counts `balancing` and `optimiser`.
    """

    def __init__(
        self,
        num_tasks: int,
        obs_dim: int,
        action_dim: int,
        *,
        networks: NetworkConfig,
        sac: SACConfig,
        balancing: BalancingConfig,
        method: str = "ls",
        method_options: Mapping[str, object] | None = None,
        device: torch.device | str = "cpu",
        precision: str = "float32",
        seed: int = 0,
        clock: Stopwatch | None = None,
    ) -> None:
        self._product_dtype = torch.bfloat16 if precision == "bf16" else None
        self.config = sac
        self.networks = networks
        self._clock = clock or Stopwatch()
        self.device = torch.device(device)
        self._sizes = (num_tasks, obs_dim, action_dim)
        self._init_rng = torch.Generator().manual_seed(seed)
        self.noise_rng = torch.Generator(self.device).manual_seed(seed + 1)
        self.actor = self._build_actor().to(self.device)
        self.critic = self._build_critic().to(self.device)
        self.target = self._build_critic().to(self.device).requires_grad_(False)
        temperatures = num_tasks if sac.temperature == "per_task" else 1
        self.log_alpha = nn.Parameter(torch.zeros(temperatures, device=self.device))
        self.reward_scale = torch.full((num_tasks, 1), sac.reward_factor, device=self.device)
        self.action_dim = action_dim

        options = dict(method_options or {})
        self.methods = {"critic": method, "actor": actor_method(method, options, balancing)}
        self.balancers = {
            part: build_balancer(
                network,
                num_tasks,
                self.methods[part],
                options if self.methods[part] == method else {},
                balancing,
                max_grad_norm=sac.max_grad_norm,
                device=self.device,
                seed=seed,
                clock=self._clock,
            )
            for part, network in (("critic", self.critic), ("actor", self.actor))
        }
        optimised = {
            "critic": (list(self.critic.parameters()), sac.critic_lr),
            "actor": (list(self.actor.parameters()), sac.actor_lr),
            "temperature": ([self.log_alpha], sac.temperature_lr),
        }
        self.optimizers = {
            part: build_adam(parameters, lr, sac.adam_eps, self.device)
            for part, (parameters, lr) in optimised.items()
        }
        self.reset_networks()

    def reset_networks(self) -> None:
        """Initialise networks, temperatures and optimisers anew; balancing state stays."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(int(torch.randint(2**62, (), generator=self._init_rng)))
            fresh_actor = self._build_actor()
            fresh_critic = self._build_critic()
        self.actor.load_state_dict(fresh_actor.state_dict())
        self.critic.load_state_dict(fresh_critic.state_dict())
        self.target.load_state_dict(fresh_critic.state_dict())
        with torch.no_grad():
            self.log_alpha.fill_(self.config.initial_temperature).log_()
            for optimizer in self.optimizers.values():
                for state in optimizer.state.values():
                    for moment in state.values():
                        moment.zero_()  # in place: see `mtrl.rl.learning.cuda_graphs`

    def actor_due(self, updates: int) -> bool:
        """Whether the next update is also one of the actor and the temperatures.

        Args:
            updates: done so far.
        """
        return updates % self.config.actor_interval == 0

    def update(
        self,
        batch: Batch,
        performance: Tensor | Performance | None = None,
        *,
        actor: bool = True,
        diagnose: bool = False,
    ) -> Update:
        """One step of the critics, and where `actor` also of the actor and the temperatures.

        It may be captured and replayed, so it keeps no state outside of tensors.

        Args:
            batch: `[m, b, ...]`.
            performance: `[m]` success rates for methods that read them, NaN where unknown; critic and
                actor see the same.
            actor: see :meth:`actor_due`.
            diagnose: also measure conflict and form the Gramians (`Balancer.backward`).
        """
        known = None if performance is None else Performance.of(performance)
        alpha = self._alpha()
        critic, metrics = self._update_critic(batch, alpha, known, diagnose)
        steps, finite, masked = {"critic": critic}, critic.finite, critic.masked
        if actor:
            steps["actor"], actor_metrics = self._update_actor(batch.obs, alpha, known, diagnose)
            metrics |= actor_metrics
            finite = finite & steps["actor"].finite
            masked = masked | steps["actor"].masked
        self._update_target(finite)
        return Update(finite, masked, steps, metrics)

    def set_reward_scale(self, means: Tensor) -> None:
        """ARS scaling from the tasks' mean rewards `[m]`: the best-paid task keeps `reward_factor`."""
        if self.config.reward_scaling == "mean":
            means = means.to(self.device).clamp_min(0.01)
            self.reward_scale.copy_((means.max() / means)[:, None] * self.config.reward_factor)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next update depends on, besides the replay."""
        return {
            "actor": self.actor.state_dict(),
            "critic": self.critic.state_dict(),
            "target": self.target.state_dict(),
            "log_alpha": self.log_alpha.detach(),
            "reward_scale": self.reward_scale,
            "optimizers": {name: opt.state_dict() for name, opt in self.optimizers.items()},
            "balancers": {name: b.state_dict() for name, b in self.balancers.items()},
            "init_rng": self._init_rng.get_state(),
            "noise_rng": self.noise_rng.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict`; strict."""
        self.load_networks(state)
        self.reward_scale.copy_(state["reward_scale"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
            for group in optimizer.param_groups:  # the checkpoint may come from another device
                group["capturable"] = self.device.type == "cuda"
        for name, balancer in self.balancers.items():
            balancer.load_state_dict(state["balancers"][name])
        self._init_rng.set_state(state["init_rng"])
        self.noise_rng.set_state(state["noise_rng"])

    def load_networks(self, state: Mapping[str, Any]) -> None:
        """Take networks and temperatures from a state, nothing else: how a new run starts from one."""
        self.actor.load_state_dict(state["actor"])
        self.critic.load_state_dict(state["critic"])
        self.target.load_state_dict(state["target"])
        with torch.no_grad():
            self.log_alpha.copy_(state["log_alpha"])

    def _update_critic(
        self, batch: Batch, alpha: Tensor, performance: Performance | None, diagnose: bool
    ) -> tuple[Step, Metrics]:
        with torch.no_grad():
            next_action, next_log_prob = self._sample(batch.next_obs)
            next_q = self.target(torch.cat([batch.next_obs, next_action], -1)).squeeze(-1)
            reward = batch.reward * self.reward_scale
            target = critic_targets(reward, batch.discount, next_q, next_log_prob, alpha)
        rows = torch.cat([batch.obs, batch.action], -1)

        def losses(shared: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
            q = self.critic(rows, shared).squeeze(-1)
            return critic_losses(q, target), {"q": q.mean(dim=(0, 2))}

        step = self.balancers["critic"].backward(losses, performance, diagnose=diagnose)
        self._step("critic", (~step.finite).float())
        self.balancers["critic"].after_step()
        return step, _named("critic", {"q": step.aux["q"]} | step.metrics)

    def _update_actor(
        self, obs: Tensor, alpha: Tensor, performance: Performance | None, diagnose: bool
    ) -> tuple[Step, Metrics]:
        noise = self._noise(obs)

        def losses(shared: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
            action, log_prob = self._sample(obs, shared, noise)
            q = self.critic(torch.cat([obs, action], -1)).squeeze(-1)
            return actor_losses(q, log_prob, alpha), {"log_prob": log_prob}

        step = self.balancers["actor"].backward(losses, performance, diagnose=diagnose)
        bad = (~step.finite).float()
        self._step("actor", bad)
        self.balancers["actor"].after_step()

        entropy = -step.aux["log_prob"].mean(-1)
        gradient = temperature_gradient(entropy, self.config.target_entropy)
        shared = self.config.temperature == "shared"
        self.log_alpha.grad = gradient.sum(0, keepdim=True) if shared else gradient
        self._step("temperature", bad)
        if self.config.min_temperature > 0:
            with torch.no_grad():
                self.log_alpha.clamp_(min=math.log(self.config.min_temperature))
        temperature = self._alpha().squeeze(-1)
        return step, _named("actor", step.metrics | {"entropy": entropy, "alpha": temperature})

    @torch.no_grad()
    def _update_target(self, finite: Tensor) -> None:
        with self._clock("optimiser"):
            online, target = list(self.critic.parameters()), list(self.target.parameters())
            lerp_(target, online, finite * self.config.tau)

    def _step(self, part: str, bad: Tensor) -> None:
        with self._clock("optimiser"):
            guarded_step(self.optimizers[part], bad)

    def _sample(
        self, obs: Tensor, shared: Mapping[str, Tensor] | None = None, noise: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        mean, log_std = self.actor(obs, shared)[0].chunk(2, dim=-1)
        log_std = squash_log_std(log_std, self.networks.log_std_min, self.networks.log_std_max)
        return sample_squashed(mean, log_std, self._noise(obs) if noise is None else noise)

    def _noise(self, obs: Tensor) -> Tensor:
        shape = (*obs.shape[:-1], self.action_dim)
        return torch.randn(shape, generator=self.noise_rng, device=self.device)

    def _alpha(self) -> Tensor:
        return self.log_alpha.detach().exp().expand(self._sizes[0])[:, None]

    def _build_actor(self) -> Architecture:
        return build_actor(*self._sizes, self.networks, product_dtype=self._product_dtype)

    def _build_critic(self) -> Architecture:
        return build_critic(*self._sizes, self.networks, product_dtype=self._product_dtype)


def _named(part: str, metrics: Metrics) -> Metrics:
    return {f"{part}/{name}": value for name, value in metrics.items()}
