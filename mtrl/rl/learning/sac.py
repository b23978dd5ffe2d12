"""Multi-task soft actor-critic: one policy, one pair of critics, balanced trunk gradients."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mtrl.balancing import Balancer, Performance, build, needs_positive_losses
from mtrl.balancing.foreach import lerp_
from mtrl.networks import Architecture, build_architecture, sample_squashed, squash_log_std
from mtrl.rl.acting.policy import build_actor
from mtrl.rl.config import BalancingConfig, NetworkConfig, SACConfig
from mtrl.rl.learning.losses import (
    actor_losses,
    critic_losses,
    critic_targets,
    temperature_gradient,
)
from mtrl.rl.learning.replay import Batch
from mtrl.runs.nan_guard import guarded_step

Metrics = dict[str, Tensor]


class MultiTaskSAC:
    """Learns from task-major batches. Nothing in :meth:`update` waits for the device.

    Args:
        num_tasks, obs_dim, action_dim: sizes.
        networks, sac, balancing: options.
        method: name of the balancing method; the actor's may differ (see :attr:`methods`).
        method_options: its options.
        device: where everything lives.
        precision: `bf16` computes the trunks' products in it (see `networks.layers`); parameters, heads,
            losses, optimisers and what is done with gradients stay in float32.
        seed: of initialisation, action noise and the methods.
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
    ) -> None:
        self._product_dtype = torch.bfloat16 if precision == "bf16" else None
        self.config, self.networks = sac, networks
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
        self.updates = 0
        self._optimiser_seconds = 0.0
        self.action_dim = action_dim

        options = dict(method_options or {})
        self.methods = {"critic": method, "actor": actor_method(method, options, balancing)}
        self.balancers = {
            part: self._balancer(network, name, options if name == method else {}, balancing, seed)
            for part, network, name in (
                ("critic", self.critic, method),
                ("actor", self.actor, self.methods["actor"]),
            )
        }
        c = self.config
        self.optimizers = {
            "critic": self._adam(list(self.critic.parameters()), c.critic_lr),
            "actor": self._adam(list(self.actor.parameters()), c.actor_lr),
            "temperature": self._adam([self.log_alpha], c.temperature_lr),
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

    @property
    def actor_due(self) -> bool:
        """Whether the next update is also one of the actor and the temperatures."""
        return self.updates % self.config.actor_interval == 0

    def update(
        self,
        batch: Batch,
        performance: Tensor | Performance | None = None,
        *,
        record: bool = False,
    ) -> Metrics:
        """One step of the critics, every `actor_interval` steps also of actor and temperatures.

        A loss that is not finite leaves everything as it was; `metrics["finite"]` tells.

        Args:
            batch: `[m, b, ...]`.
            performance: `[m]` success rates for methods that read them, NaN where unknown; critic and
                actor see the same.
            record: also measure conflict and keep the Gramians (`Balancer.backward`).

        Returns:
            Detached tensors on the device; names end in a part (`critic`, `actor`) where it matters.
        """
        metrics = self.step(batch, performance, actor=self.actor_due, record=record)
        self.updates += 1
        return metrics

    def step(
        self, batch: Batch, performance: Tensor | Performance | None, *, actor: bool, record: bool
    ) -> Metrics:
        """The device's part of :meth:`update`: it may be recorded and replayed, so it counts nothing."""
        known = None if performance is None else Performance.of(performance)
        alpha = self._alpha()
        metrics = self._update_critic(batch, alpha, known, record)
        finite = metrics["critic/finite"]
        if actor:
            metrics |= self._update_actor(batch.obs, alpha, known, record)
            finite = finite & metrics["actor/finite"]
        self._update_target(finite)
        metrics["finite"] = finite
        return metrics

    def take_seconds(self) -> dict[str, float]:
        """Seconds spent in `balancing` and in the `optimiser` since the last call, seen by the host."""
        spent = {"balancing": 0.0, "optimiser": self._optimiser_seconds}
        self._optimiser_seconds = 0.0
        for balancer in self.balancers.values():
            spent["balancing"] += balancer.seconds
            balancer.seconds = 0.0
        return spent

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
            "updates": self.updates,
            "optimizers": {name: opt.state_dict() for name, opt in self.optimizers.items()},
            "balancers": {name: b.state_dict() for name, b in self.balancers.items()},
            "init_rng": self._init_rng.get_state(),
            "noise_rng": self.noise_rng.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict`; strict."""
        self.load_networks(state)
        self.reward_scale.copy_(state["reward_scale"])
        self.updates = state["updates"]
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
        self, batch: Batch, alpha: Tensor, performance: Performance | None, record: bool
    ) -> Metrics:
        with torch.no_grad():
            next_action, next_log_prob = self._sample(batch.next_obs)
            next_q = self.target(torch.cat([batch.next_obs, next_action], -1)).squeeze(-1)
            reward = batch.reward * self.reward_scale
            target = critic_targets(reward, batch.discount, next_q, next_log_prob, alpha)
        rows = torch.cat([batch.obs, batch.action], -1)

        def losses(shared: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
            q = self.critic(rows, shared).squeeze(-1)
            return critic_losses(q, target), {"q": q.mean(dim=(0, 2))}

        metrics = self.balancers["critic"].backward(losses, performance, record=record)
        self._step("critic", (~metrics["finite"]).float())
        self.balancers["critic"].after_step()
        return {f"critic/{name}": value for name, value in metrics.items()}

    def _update_actor(
        self, obs: Tensor, alpha: Tensor, performance: Performance | None, record: bool
    ) -> Metrics:
        noise = self._noise(obs)

        def losses(shared: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
            action, log_prob = self._sample(obs, shared, noise)
            q = self.critic(torch.cat([obs, action], -1)).squeeze(-1)
            return actor_losses(q, log_prob, alpha), {"log_prob": log_prob}

        metrics = self.balancers["actor"].backward(losses, performance, record=record)
        bad = (~metrics["finite"]).float()
        self._step("actor", bad)
        self.balancers["actor"].after_step()
        log_prob = metrics.pop("log_prob")

        entropy = metrics["entropy"] = -log_prob.mean(-1)
        gradient = temperature_gradient(entropy, self.config.target_entropy)
        shared = self.config.temperature == "shared"
        self.log_alpha.grad = gradient.sum(0, keepdim=True) if shared else gradient
        self._step("temperature", bad)
        if self.config.min_temperature > 0:
            with torch.no_grad():
                self.log_alpha.clamp_(min=math.log(self.config.min_temperature))
        metrics["alpha"] = self._alpha().squeeze(-1)
        return {f"actor/{name}": value for name, value in metrics.items()}

    @torch.no_grad()
    def _update_target(self, finite: Tensor) -> None:
        start = time.perf_counter()
        online, target = list(self.critic.parameters()), list(self.target.parameters())
        lerp_(target, online, finite * self.config.tau)
        self._optimiser_seconds += time.perf_counter() - start

    def _step(self, part: str, bad: Tensor) -> None:
        start = time.perf_counter()
        guarded_step(self.optimizers[part], bad)
        self._optimiser_seconds += time.perf_counter() - start

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
        num_tasks, obs_dim, action_dim = self._sizes
        return build_architecture(
            self.networks.architecture,
            num_tasks,
            obs_dim + action_dim,
            1,
            self.networks.critic,
            options=self.networks.architecture_options,
            members=2,
            layer_norm=self.networks.critic_layer_norm,
            task_one_hot=self.networks.task_one_hot,
            product_dtype=self._product_dtype,
        )

    def _balancer(
        self,
        network: Architecture,
        name: str,
        options: dict[str, object],
        config: BalancingConfig,
        seed: int,
    ) -> Balancer:
        shared = network.shared_parameters()
        method = build(
            name,
            num_tasks=self._sizes[0],
            num_shared=sum(p.numel() for p in shared.values()),
            seed=seed,
            **options,
        ).to(self.device)
        return Balancer(
            method,
            shared,
            network.head_parameters(),
            max_norm=self.config.max_grad_norm or None,
            clip=config.clip,
            head_scaling=config.head_scaling,
            head_task_dim=network.head_task_dim,
        )

    def _adam(self, parameters: list[nn.Parameter], lr: float) -> torch.optim.Adam:
        # `capturable`: the step count lies on the device, where a recorded update can advance it.
        on_gpu = self.device.type == "cuda"
        if on_gpu:  # the first updates are not recorded, and torch advises against that
            message = "This instance was constructed with capturable=True"
            warnings.filterwarnings("ignore", message=message)
        eps = self.config.adam_eps
        return torch.optim.Adam(parameters, lr=lr, eps=eps, fused=True, capturable=on_gpu)


def actor_method(method: str, options: Mapping[str, object], config: BalancingConfig) -> str:
    """The balancing method of the actor, whose losses may be negative.

    Raises:
        ValueError: the configuration asks for a method that takes logarithms or ratios of losses.
    """
    if config.actor_method == "same":
        return "ls" if needs_positive_losses(method, options) else method
    if needs_positive_losses(config.actor_method, {}):
        raise ValueError(
            f"`balancing.actor_method` is {config.actor_method!r}, which takes logarithms or ratios of"
            " losses; the actor's losses are negative at times. Use another method, or `same`."
        )
    return config.actor_method
