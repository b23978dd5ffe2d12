"""Steps one environment of every task in lockstep and cuts what happens into fragments."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtrl.envs import EpisodeEnv, TaskSet
from mtrl.envs.factory import sub_environment_seed
from mtrl.rl.actor import ActingPolicy
from mtrl.rl.fragment import Episode, Fragment, Rollout
from mtrl.rl.reward import RunningRewardScale


@dataclass
class _Trace:
    """One environment's current episode, and its steps since the last fragment."""

    obs: list[NDArray[np.float32]]
    limit: int
    partial: bool
    action: list[NDArray[np.float32]] = field(default_factory=list)
    reward: list[float] = field(default_factory=list)
    total_reward: float = 0.0
    length: int = 0
    success: bool = False


class Sampler:
    """A worker's inside: plain Python, so that it runs in this process or as a Ray actor.

    Args:
        tasks: names and goals; one environment of each is built.
        policy: acts on `[m, obs]` at once.
        seed: of the run.
        worker: index of the worker; environments' streams depend on (run, worker, environment).
        num_workers: for staggering the first resets over workers and tasks.
        incarnation: counts the restarts of this worker.
        reward_normalization: `none` or `running`.
    """

    def __init__(
        self,
        tasks: TaskSet,
        policy: ActingPolicy,
        *,
        seed: int,
        worker: int = 0,
        num_workers: int = 1,
        incarnation: int = 0,
        reward_normalization: str = "none",
    ) -> None:
        self.policy = policy
        self.worker = worker
        self.incarnation = incarnation
        self.action_dim = tasks.action_dim
        m = len(tasks)
        streams = [sub_environment_seed(seed, worker, incarnation, i) for i in range(m)]
        self.envs = [tasks.build(i, stream) for i, stream in enumerate(streams)]
        # Index m is beyond every environment: the worker's own stream, for exploration noise.
        self.rng = np.random.default_rng(sub_environment_seed(seed, worker, incarnation, m))
        self.scales = [
            RunningRewardScale() if reward_normalization == "running" else None for _ in range(m)
        ]
        # The first episodes have different lengths, so that later resets (each as long as 100 steps)
        # do not all fall on the same step of the lockstep batch.
        self.traces = []
        for i, env in enumerate(self.envs):
            share = (i * num_workers + worker + 1) / (m * num_workers)
            limit = max(1, round(share * env.horizon))
            self.traces.append(self._start(env, limit))

    def rollout(self, steps: int, sequence: int, *, explore: str = "policy") -> Rollout:
        """Take `steps` steps of each environment.

        Args:
            steps: T.
            sequence: number of this rollout, echoed.
            explore: `policy` samples from the policy, `uniform` draws actions from [-1, 1].
        """
        m = len(self.envs)
        clock = {"policy": 0.0, "simulation": 0.0, "reset": 0.0}
        fragments: list[list[Fragment]] = [[] for _ in self.envs]
        shape = (steps, m, self.action_dim)
        if explore == "uniform":
            draws = self.rng.uniform(-1.0, 1.0, shape).astype(np.float32)
        else:
            draws = self.rng.standard_normal(shape, dtype=np.float32)

        for step in range(steps):
            start = time.perf_counter()
            if explore == "uniform":
                actions = draws[step]
            else:
                actions = self.policy.act(np.stack([t.obs[-1] for t in self.traces]), draws[step])
            acted = time.perf_counter()
            clock["policy"] += acted - start
            for i, env in enumerate(self.envs):
                finished = self._step(i, env, actions[i])
                if finished is not None:
                    fragments[i].extend(finished)
                    before = time.perf_counter()
                    self.traces[i] = self._start(env, env.horizon)
                    spent = time.perf_counter() - before
                    clock["reset"] += spent
                    clock["simulation"] -= spent
            clock["simulation"] += time.perf_counter() - acted

        for i, trace in enumerate(self.traces):
            fragments[i].extend(self._cut(i, trace, None))
        return Rollout(
            worker=self.worker,
            incarnation=self.incarnation,
            sequence=sequence,
            policy_version=-1 if explore == "uniform" else self.policy.version,
            env_steps=steps * m,
            fragments=[fragment for pieces in fragments for fragment in pieces],
            seconds=clock,
        )

    def state_dict(self) -> dict[str, Any]:
        """What a resumed worker continues: the reward scales. Episodes start anew."""
        return {"scales": [None if s is None else s.state_dict() for s in self.scales]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore :meth:`state_dict`."""
        for scale, values in zip(self.scales, state["scales"], strict=True):
            if scale is not None:
                scale.load_state_dict(values)

    def _step(
        self, index: int, env: EpisodeEnv, action: NDArray[np.float32]
    ) -> list[Fragment] | None:
        """One step of one environment; the fragments of its episode if that ended."""
        trace = self.traces[index]
        obs, reward, _, truncated, info = env.step(action)
        if info["diverged"]:
            # That step is not a transition: what came before it is kept.
            return self._cut(index, trace, self._summary(trace, diverged=True))
        trace.length += 1
        trace.total_reward += reward
        trace.success |= bool(info["success"])
        scale = self.scales[index]
        trace.obs.append(obs.astype(np.float32))
        trace.action.append(action)
        trace.reward.append(reward if scale is None else scale(reward))
        if truncated or trace.length >= trace.limit:
            return self._cut(index, trace, self._summary(trace))
        return None

    def _start(self, env: EpisodeEnv, limit: int) -> _Trace:
        obs, _ = env.reset()
        return _Trace([obs.astype(np.float32)], limit, partial=limit < env.horizon)

    @staticmethod
    def _summary(trace: _Trace, *, diverged: bool = False) -> Episode:
        return Episode(trace.success, trace.total_reward, trace.length, trace.partial, diverged)

    @staticmethod
    def _cut(index: int, trace: _Trace, episode: Episode | None) -> list[Fragment]:
        """Take the steps since the last fragment; a fragment may be empty if it ends an episode."""
        steps = len(trace.reward)
        if steps == 0 and episode is None:
            return []
        obs = np.stack(trace.obs)
        action = np.stack(trace.action) if steps else np.zeros((0, 0), np.float32)
        fragment = Fragment(index, obs, action, np.array(trace.reward, np.float32), False, episode)
        trace.obs, trace.action, trace.reward = [trace.obs[-1]], [], []
        return [fragment]
