"""The runner: fragments that fit together, staggered resets, divergence, seeds of their own."""

from __future__ import annotations

import numpy as np
import pytest

from mtrl.envs import EpisodeEnv, TaskSet
from mtrl.envs.factory import sub_environment_seed
from mtrl.envs.fake import FakeTask
from mtrl.rl.acting.env_runner import EnvRunner
from mtrl.rl.acting.fragment import Fragment
from mtrl.rl.acting.policy import acting_policy
from mtrl.rl.acting.reward_normalization import RunningRewardScale
from tests.helpers import NETWORKS


def make_runner(tasks: TaskSet, worker: int = 0, envs: int = 1, **options: object) -> EnvRunner:
    policy = acting_policy(tasks, NETWORKS, envs)
    defaults: dict = {"seed": 0, "worker": worker, "num_workers": 2, "envs_per_task": envs}
    return EnvRunner(tasks, policy, **(defaults | options))


def of_task(runner: EnvRunner, task: int, rollouts: int, steps: int) -> list[Fragment]:
    return [
        fragment
        for sequence in range(rollouts)
        for fragment in runner.rollout(steps, sequence, explore="uniform").fragments
        if fragment.task == task
    ]


def test_fragments_join_within_episodes_and_not_across(fake_tasks: TaskSet) -> None:
    fragments = of_task(make_runner(fake_tasks), 1, rollouts=6, steps=13)
    assert sum(map(len, fragments)) == 6 * 13
    lengths, length = [], 0
    for fragment, following in zip(fragments, [*fragments[1:], None], strict=True):
        length += len(fragment)
        if fragment.episode is not None:
            assert fragment.episode.length == length
            lengths.append(length)
            length = 0
        if following is not None and len(following):
            joined = np.array_equal(fragment.obs[-1], following.obs[0])
            assert joined == (fragment.episode is None)
    first, *others = lengths
    assert first < fake_tasks.horizon, "the first episode is cut short, to stagger resets"
    assert set(others) == {fake_tasks.horizon}


def test_an_episode_is_of_the_policy_at_its_first_step(fake_tasks: TaskSet) -> None:
    runner = make_runner(fake_tasks)
    expected: list[int] = []
    found: list[int] = []
    taken, start, version = 0, 0, -1
    for sequence in range(9):
        runner.policy.version = sequence
        uniform = sequence < 2
        acting = -1 if uniform else sequence
        version = acting if taken == start else version
        rollout = runner.rollout(13, sequence, explore="uniform" if uniform else "policy")
        assert rollout.policy_version == acting
        for fragment in rollout.fragments:
            if fragment.task != 1:
                continue
            taken += len(fragment)
            if fragment.episode is not None:
                found.append(fragment.episode.policy_version)
                expected.append(version)
                start, version = taken, acting
    assert found == expected
    assert expected[:2] == [-1, -1]
    assert len(set(expected)) > 3


def test_the_successor_at_a_time_limit_is_the_true_one(fake_tasks: TaskSet) -> None:
    for fragment in of_task(make_runner(fake_tasks), 0, rollouts=6, steps=13):
        moves = np.diff(fragment.obs[:, :2], axis=0)
        inside = (np.abs(fragment.obs[1:, :2]) < 1).all(1)
        expected = 0.1 * np.clip(fragment.action, -1, 1)  # task 0 does not rotate
        assert np.allclose(moves[inside], expected[inside], atol=1e-6)


@pytest.mark.parametrize("envs", [1, 3])
def test_first_resets_are_staggered_over_workers_tasks_and_environments(
    fake_tasks: TaskSet, envs: int
) -> None:
    workers = [make_runner(fake_tasks, worker, envs).traces for worker in (0, 1)]
    limits = [trace.limit for traces in workers for trace in traces]
    assert len(set(limits)) == len(limits)
    assert all(trace.partial for trace in workers[0])
    for task in range(3):  # those of one task are spread over the horizon
        own = sorted(t.limit for traces in workers for t in traces if t.task == task)
        assert max(np.diff([0, *own])) <= 1 + fake_tasks.horizon / envs


@pytest.mark.parametrize("envs", [1, 3])
def test_each_environment_has_the_stream_of_its_index(fake_tasks: TaskSet, envs: int) -> None:
    runner = make_runner(fake_tasks, envs=envs)
    n = 3 * envs
    for i in range(n):
        twin = fake_tasks.build(i // envs, sub_environment_seed(0, 0, 0, i))
        assert np.array_equal(runner.obs[i], twin.reset()[0].astype(np.float32))
    own = np.random.default_rng(sub_environment_seed(0, 0, 0, n))
    expected = own.uniform(-1, 1, (4, n, 2)).astype(np.float32)
    fragments = runner.rollout(4, 0, explore="uniform").fragments
    assert np.array_equal(np.concatenate([f.action for f in fragments], 0)[:4], expected[:, 0])


def test_several_environments_of_each_task(fake_tasks: TaskSet) -> None:
    envs, steps, horizon = 3, 13, fake_tasks.horizon
    runner = make_runner(fake_tasks, envs=envs)
    limits = {task: [t.limit for t in runner.traces if t.task == task] for task in range(3)}
    episodes: dict[int, int] = dict.fromkeys(range(3), 0)
    for sequence in range(4):
        rollout = runner.rollout(steps, sequence)
        assert rollout.env_steps == 3 * envs * steps
        assert [f.task for f in rollout.fragments] == sorted(f.task for f in rollout.fragments)
        for task in range(3):
            fragments = [f for f in rollout.fragments if f.task == task]
            assert sum(map(len, fragments)) == envs * steps
            assert all(f.obs.shape == (len(f) + 1, 4) for f in fragments)
            assert all(f.action.shape == (len(f), 2) for f in fragments)
            episodes[task] += sum(f.episode is not None for f in fragments)
    taken = 4 * steps
    for task, first in limits.items():
        assert episodes[task] == sum(1 + (taken - limit) // horizon for limit in first)


def test_divergence_ends_the_episode_and_keeps_what_was_good(fake_tasks: TaskSet) -> None:
    runner = make_runner(fake_tasks)
    task = runner.envs[2].task
    assert isinstance(task, FakeTask)
    task.diverge_at = 4
    rollout = runner.rollout(10, 0, explore="uniform")
    assert rollout.env_steps == 30
    first, *rest = [f for f in rollout.fragments if f.task == 2]
    assert first.episode is not None
    assert first.episode.diverged
    assert len(first) == 3
    assert sum(map(len, rest)) == 6  # the diverged step itself is no transition
    assert all(np.isfinite(f.obs).all() and np.isfinite(f.reward).all() for f in rollout.fragments)


def test_no_two_environments_share_a_stream() -> None:
    states = {
        tuple(sub_environment_seed(run, worker, incarnation, env).generate_state(4))
        for run in range(3)
        for worker in range(3)
        for incarnation in range(3)
        for env in range(4)
    }
    assert len(states) == 81 + 27


def test_same_seed_same_rollouts_and_workers_differ(fake_tasks: TaskSet) -> None:
    def actions(**options: int) -> np.ndarray:
        return make_runner(fake_tasks, **options).rollout(5, 0).fragments[0].action

    # Two policies with different initial weights would differ: pin them.
    import torch

    def pinned(**options: int) -> np.ndarray:
        torch.manual_seed(0)
        return actions(**options)

    assert np.array_equal(pinned(), pinned())
    assert np.array_equal(pinned(envs=2), pinned(envs=2))
    assert not np.array_equal(pinned(), pinned(worker=1))
    assert not np.array_equal(pinned(), pinned(incarnation=1))


@pytest.mark.parametrize("envs", [1, 2])
def test_rewards_are_normalised_by_their_task_s_scale(fake_tasks: TaskSet, envs: int) -> None:
    steps = 15
    runner = make_runner(fake_tasks, envs=envs, reward_normalization="running")
    raw = make_runner(fake_tasks, envs=envs)
    scaled, plain = (s.rollout(steps, 0, explore="uniform").fragments for s in (runner, raw))
    assert [f.episode for f in scaled] == [f.episode for f in plain], "returns are the simulator's"
    found, rewards = (in_lockstep(fragments, steps) for fragments in (scaled, plain))
    for task in range(3):
        scale = RunningRewardScale()  # environments of one task share it, in lockstep
        own = slice(task * envs, (task + 1) * envs)
        expected = [[scale(float(r)) for r in row] for row in rewards[:, own]]
        assert np.allclose(found[:, own], expected, rtol=1e-6)
    assert not np.allclose(found, rewards, rtol=1e-3), "which differ from the simulator's rewards"


def in_lockstep(fragments: list[Fragment], steps: int) -> np.ndarray:
    """Rewards `[T, n]`: fragments come in the order of environments, then of time."""
    return np.concatenate([f.reward for f in fragments]).reshape(-1, steps).T


def test_reward_scales_carry_over(fake_tasks: TaskSet) -> None:
    runner = make_runner(fake_tasks, reward_normalization="running")
    runner.rollout(15, 0, explore="uniform")
    other = make_runner(fake_tasks, reward_normalization="running")
    assert other.state_dict() != runner.state_dict()
    other.load_state_dict(runner.state_dict())
    assert other.state_dict() == runner.state_dict()
    assert [s for s in other.scales if s is not None and s.variance != 1.0]


class Scripted(FakeTask):
    """Succeeds at given steps of an episode."""

    def __init__(self, successes: set[int]) -> None:
        super().__init__(0)
        self.successes, self.elapsed = successes, 0

    def reset(self, goal: np.ndarray) -> np.ndarray:
        self.elapsed = 0
        return super().reset(goal)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, dict]:
        self.elapsed += 1
        obs, reward, _ = super().step(action)
        return obs, reward, {"success": float(self.elapsed in self.successes)}


@pytest.mark.parametrize(
    ("successes", "expected"),
    [({1}, True), ({3, 4}, True), ({20}, True), (set(), False)],
    ids=["first step", "middle", "last step", "never"],
)
def test_an_episode_succeeds_if_any_step_does(
    fake_tasks: TaskSet, successes: set[int], expected: bool
) -> None:
    runner = make_runner(fake_tasks)
    runner.envs[1].task = Scripted(successes)
    episodes = [f.episode for f in of_task(runner, 1, rollouts=4, steps=20) if f.episode]
    full = [episode for episode in episodes if not episode.partial]
    assert len(full) >= 2
    assert all(episode.length == fake_tasks.horizon for episode in full)
    assert [episode.success for episode in full] == [expected] * len(full)


class Terminating(EpisodeEnv):
    """Says at its fifth step that the episode is over."""

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        obs, reward, _, truncated, info = super().step(action)
        return obs, reward, self.elapsed == 5, truncated, info


def test_a_terminal_step_ends_the_episode_and_is_told(fake_tasks: TaskSet) -> None:
    runner = make_runner(fake_tasks)
    runner.envs[2] = Terminating(FakeTask(2), fake_tasks.goals[2], horizon=fake_tasks.horizon)
    runner.envs[2].reset()
    fragments = of_task(runner, 2, rollouts=1, steps=13)
    assert [(len(f), f.terminated, f.episode is not None) for f in fragments] == [
        (5, True, True),
        (5, True, True),
        (3, False, False),
    ]
    assert not any(f.terminated for f in of_task(runner, 1, rollouts=2, steps=25)), "a time limit"


def test_weights_of_another_network_are_refused(fake_tasks: TaskSet) -> None:
    policy = acting_policy(fake_tasks, NETWORKS)
    with pytest.raises(ValueError, match="networks differ"):
        policy.load(np.zeros(3, np.float32), 1)
