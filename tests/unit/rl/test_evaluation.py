"""Evaluation: every goal once, the right policy for the right task, and an oracle on Meta-World."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mtrl.envs import EnvConfig, EpisodeEnv, TaskSet, load_tasks
from mtrl.envs.fake import FakeTask
from mtrl.rl.acting.evaluation import Evaluation, evaluate, merge


class Oracle:
    """Acts by a function per task, with the interface of `ActingPolicy`."""

    version = 3

    def __init__(self, *policies: Any) -> None:
        self.policies = policies

    def act(self, obs: np.ndarray, noise: None) -> np.ndarray:
        assert noise is None, "evaluation is deterministic"
        rows = zip(self.policies, obs, strict=True)
        return np.stack([policy(row) for policy, row in rows]).astype(np.float32)


def solve_fake(index: int):
    inverse = FakeTask(index).rotation.T
    return lambda obs: inverse @ np.clip(10 * (obs[2:] - obs[:2]), -1, 1)


def test_an_oracle_succeeds_on_every_goal_and_idleness_on_none(fake_tasks: TaskSet) -> None:
    envs = [fake_tasks.build(i) for i in range(3)]
    goals = range(fake_tasks.num_goals)
    oracle = Oracle(solve_fake(0), lambda obs: np.zeros(2), solve_fake(2))
    result = evaluate(oracle, envs, list(goals))  # type: ignore[arg-type]
    assert result.success_rate == [1.0, 0.0, 1.0]
    assert [len(row) for row in result.success] == [7, 7, 7]
    assert result.env_steps < 3 * 7 * fake_tasks.horizon, "a success ends its episode"
    assert result.policy_version == 3


def test_each_goal_is_tried_once(fake_tasks: TaskSet) -> None:
    env = fake_tasks.build(0)
    seen: list[tuple[float, ...]] = []

    def remember(obs: np.ndarray) -> np.ndarray:
        if not seen or seen[-1] != tuple(obs[2:]):
            seen.append(tuple(obs[2:]))
        return np.zeros(2)

    evaluate(Oracle(remember), [env], [4, 0, 2])  # type: ignore[arg-type]
    expected = fake_tasks.goals[0][[4, 0, 2]].astype(np.float32)
    assert np.allclose(seen, expected)


def test_divergence_is_a_failure(fake_tasks: TaskSet) -> None:
    env = fake_tasks.build(0)
    assert isinstance(env.task, FakeTask)
    env.task.diverge_at = 2
    result = evaluate(Oracle(solve_fake(0)), [env], [0, 1])  # type: ignore[arg-type]
    assert result.success == [[False, True]]
    assert result.diverged == 1


def test_a_terminal_step_is_the_end_of_a_goal_s_try(fake_tasks: TaskSet) -> None:
    class Terminating(EpisodeEnv):
        def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
            obs, reward, _, truncated, info = super().step(action)
            return obs, reward, self.elapsed == 2, truncated, info

    env = Terminating(FakeTask(0), fake_tasks.goals[0], horizon=fake_tasks.horizon)
    result = evaluate(Oracle(solve_fake(0)), [env], [0, 1, 2])  # type: ignore[arg-type]
    assert result.success == [[False, False, False]]
    assert result.env_steps == 3 * 2


def test_shards_join_in_the_order_of_goals() -> None:
    """Outcomes that tell goals and tasks apart: task i solves goal g if g is a multiple of i + 2."""
    shards = [[0, 3, 6], [4, 1], [2, 5]]
    parts = [
        Evaluation(
            goals=goals,
            success=[[goal % (task + 2) == 0 for goal in goals] for task in range(3)],
            env_steps=10 * len(goals),
            policy_version=3,
            diverged=len(goals) - 2,
        )
        for goals in shards
    ]
    merged = merge(parts)
    assert merged.goals == list(range(7))
    assert merged.success == [[g % (task + 2) == 0 for g in range(7)] for task in range(3)]
    assert (merged.env_steps, merged.policy_version, merged.diverged) == (70, 3, 1)


def test_shards_say_together_what_one_evaluation_says(fake_tasks: TaskSet) -> None:
    """Of a policy that goes one way whatever the goal: it meets some of the goals only."""
    envs = [fake_tasks.build(i) for i in range(3)]
    policy = Oracle(*(lambda obs: np.array([1.0, 0.2]) for _ in range(3)))
    whole = evaluate(policy, envs, list(range(7)))  # type: ignore[arg-type]
    parts = [evaluate(policy, envs, goals) for goals in ([0, 3, 6], [1, 4], [2, 5])]  # type: ignore[arg-type]
    assert {True, False} == set(whole.success[0])
    assert merge(parts) == whole


@pytest.mark.filterwarnings("ignore:Constant.s. may be too high")
def test_the_library_s_scripted_policies_solve_our_environments() -> None:
    from metaworld.policies import SawyerReachV3Policy, SawyerWindowOpenV3Policy

    tasks = load_tasks(EnvConfig(tasks=["reach-v3", "window-open-v3"], num_goals=4))
    reach, window = SawyerReachV3Policy(), SawyerWindowOpenV3Policy()
    oracle = Oracle(
        lambda obs: np.clip(reach.get_action(obs.astype(np.float64)), -1, 1),
        lambda obs: np.clip(window.get_action(obs.astype(np.float64)), -1, 1),
    )
    envs = [tasks.build(i) for i in range(2)]
    result = evaluate(oracle, envs, list(range(4)))  # type: ignore[arg-type]
    assert result.mean_success_rate >= 0.75
