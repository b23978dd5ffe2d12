"""What a configuration says arrives where it belongs."""

from __future__ import annotations

import dataclasses

import torch

from mtrl.envs import TaskSet
from mtrl.jobs import rl as launch
from mtrl.jobs.config import TrainConfig
from mtrl.rl.config import ReplayConfig, SACConfig
from tests.helpers import NETWORKS, make_fragment


def test_the_replay_is_built_as_configured(fake_tasks: TaskSet) -> None:
    sac = SACConfig(n_step=3, discount=0.5, batch_size=8)
    config = TrainConfig(NETWORKS, sac=sac, replay=ReplayConfig(capacity=50), seed=7)
    device = torch.device("cpu")
    replay = launch._replay(config, fake_tasks, device)
    assert (replay.num_tasks, replay.capacity) == (3, 50)
    for task in range(3):
        replay.add(make_fragment(6, task=task))
    # Rewards are 0, 1, 2, ...: the first return is 0 + 1 / 2 + 2 / 4, the second 1 + 2 / 2 + 3 / 4.
    assert replay.rings.reward[0, :2].tolist() == [1.0, 2.75]
    assert replay.rings.discount[0, 0] == 0.125

    same = launch._replay(config, fake_tasks, device)
    other = launch._replay(dataclasses.replace(config, seed=8), fake_tasks, device)
    for ring in (same, other):
        ring.load_state_dict(replay.state_dict() | {"generator": ring.generator.get_state()})
    drawn = replay.sample(20).obs
    assert torch.equal(drawn, same.sample(20).obs)
    assert not torch.equal(drawn, other.sample(20).obs)
