"""Steps environments of every task in lockstep and cuts what happens into fragments."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mtrl.envs import EpisodeEnv, TaskSet
from mtrl.envs.factory import sub_environment_seed
from mtrl.rl.acting.fragment import Episode, Fragment, Rollout
from mtrl.rl.acting.policy import ActingPolicy
from mtrl.rl.acting.reward_normalization import RunningRewardScale


@dataclass
class _Trace:
    """One environment's current episode."""

    task: int
    limit: int
    partial: bool
    start: int = 0  # step of the current rollout that its next fragment begins with
    total_reward: float = 0.0
    length: int = 0
    success: bool = False
    policy_version: int = -1  # at its first step

    def summary(self, *, diverged: bool = False) -> Episode:
        return Episode(
            self.success,
            self.total_reward,
            self.length,
            self.partial,
            diverged,
            self.policy_version,
        )


_Rows = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
"""A step's actions `[n, action]`, the observations after it `[n, obs]`, its rewards `[n]`."""


class _Buffers:
    """A rollout's steps, time-major: what the environments return is the policy's next batch.

    Attributes:
        obs: `[T+1, n, obs]`; after an episode's last step, the next one's first observation.
        action: `[T, n, action]`.
        reward: `[T, n]`.
    """

    def __init__(self, steps: int, first: NDArray[np.float32], action_dim: int) -> None:
        n, obs_dim = first.shape
        self.obs = np.empty((steps + 1, n, obs_dim), np.float32)
        self.obs[0] = first
        self.action = np.empty((steps, n, action_dim), np.float32)
        self.reward = np.empty((steps, n), np.float32)

    def at(self, step: int) -> _Rows:
        """Rows of a step."""
        return self.action[step], self.obs[step + 1], self.reward[step]

    def fragment(
        self,
        index: int,
        trace: _Trace,
        stop: int,
        episode: Episode | None,
        terminated: bool = False,
    ) -> Fragment:
        """An environment's steps up to `stop`, copied: what follows overwrites the last observation."""
        start = trace.start
        return Fragment(
            trace.task,
            self.obs[start : stop + 1, index].copy(),
            self.action[start:stop, index].copy(),
            self.reward[start:stop, index].copy(),
            terminated,
            episode,
        )


class EnvRunner:
    """A worker's inside: plain Python, so that it runs in this process or as a Ray actor.

    Args:
        tasks: names and goals.
        policy: acts on all environments at once; for `envs_per_task` rows of each task.
        seed: of the run.
        worker: index of the worker; environments' streams depend on (run, worker, environment).
        num_workers: for staggering the first resets over workers, tasks and environments.
        incarnation: counts the restarts of this worker.
        reward_normalization: `none` or `running`.
        envs_per_task: e. Environment `i` of `n = m e` is of task `i // e`.
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
        envs_per_task: int = 1,
    ) -> None:
        self.policy = policy
        self.worker = worker
        self.incarnation = incarnation
        self.action_dim = tasks.action_dim
        m, e = len(tasks), envs_per_task
        n = m * e
        streams = [sub_environment_seed(seed, worker, incarnation, i) for i in range(n)]
        self.envs = [tasks.build(i // e, stream) for i, stream in enumerate(streams)]
        # Index n is beyond every environment: the worker's own stream, for exploration noise.
        self.rng = np.random.default_rng(sub_environment_seed(seed, worker, incarnation, n))
        # One per task, not per environment: within a worker, a reward has one meaning at a time.
        self.scales = [
            RunningRewardScale() if reward_normalization == "running" else None for _ in range(m)
        ]
        # The first episodes have different lengths, so that later resets (each as long as 100 steps)
        # do not all fall on the same step of the lockstep batch; those of one task are far apart.
        self.traces = []
        self.obs = np.empty((n, tasks.obs_dim), np.float32)  # where each environment is now
        for i, env in enumerate(self.envs):
            task, copy = divmod(i, e)
            share = ((copy * m + task) * num_workers + worker + 1) / (n * num_workers)
            limit = max(1, round(share * env.horizon))
            self.traces.append(_Trace(task, limit, partial=limit < env.horizon))
            self.obs[i], _ = env.reset()

    def rollout(self, steps: int, sequence: int, *, explore: str = "policy") -> Rollout:
        """Take `steps` steps of each environment.

        Args:
            steps: T.
            sequence: number of this rollout, echoed.
            explore: `policy` samples from the policy, `uniform` draws actions from [-1, 1].
        """
        clock = {"policy": 0.0, "simulation": 0.0, "reset": 0.0}
        fragments: list[list[Fragment]] = [[] for _ in self.envs]
        buffers = _Buffers(steps, self.obs, self.action_dim)
        version = -1 if explore == "uniform" else self.policy.version
        for trace in self.traces:
            trace.start = 0
            if trace.length == 0:
                trace.policy_version = version
        if explore == "uniform":
            draws = self.rng.uniform(-1.0, 1.0, buffers.action.shape).astype(np.float32)
        else:
            draws = self.rng.standard_normal(buffers.action.shape, dtype=np.float32)

        for step in range(steps):
            start = time.perf_counter()
            if explore == "uniform":
                actions = draws[step]
            else:
                actions = self.policy.act(buffers.obs[step], draws[step])
            buffers.action[step] = actions
            acted = time.perf_counter()
            clock["policy"] += acted - start
            rows = buffers.at(step)
            for i, env in enumerate(self.envs):
                fragment = self._step(i, env, step, buffers, rows)
                if fragment is not None:
                    fragments[i].append(fragment)
                    before = time.perf_counter()
                    task = self.traces[i].task
                    self.traces[i] = _Trace(
                        task, env.horizon, False, step + 1, policy_version=version
                    )
                    buffers.obs[step + 1, i], _ = env.reset()
                    spent = time.perf_counter() - before
                    clock["reset"] += spent
                    clock["simulation"] -= spent
            clock["simulation"] += time.perf_counter() - acted

        for i, trace in enumerate(self.traces):
            if trace.start < steps:
                fragments[i].append(buffers.fragment(i, trace, steps, None))
        self.obs = buffers.obs[steps].copy()
        return Rollout(
            worker=self.worker,
            incarnation=self.incarnation,
            sequence=sequence,
            policy_version=version,
            env_steps=steps * len(self.envs),
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
        self,
        index: int,
        env: EpisodeEnv,
        step: int,
        buffers: _Buffers,
        rows: _Rows,
    ) -> Fragment | None:
        """One step of one environment; the rest of its episode, maybe empty, if that ended.

        It runs beside every step of the simulator, so it is handed `rows`, which index faster.
        """
        trace, (actions, after, rewards) = self.traces[index], rows
        obs, reward, terminated, truncated, info = env.step(actions[index])
        if info["diverged"]:
            # That step is not a transition: what came before it is kept.
            return buffers.fragment(index, trace, step, trace.summary(diverged=True))
        trace.length += 1
        trace.total_reward += reward
        if info["success"]:
            trace.success = True
        scale = self.scales[trace.task]
        after[index] = obs
        rewards[index] = reward if scale is None else scale(reward)
        if terminated or truncated or trace.length >= trace.limit:
            return buffers.fragment(index, trace, step + 1, trace.summary(), terminated)
        return None
