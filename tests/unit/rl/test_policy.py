"""Acting is the network's own forward pass, in fewer operations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mtrl.networks import sample_squashed, squash_log_std
from mtrl.rl.acting.policy import ActingPolicy, build_actor, flat_weights
from mtrl.rl.config import NetworkConfig

M, OBS, ACTION = 3, 7, 2
NETWORKS = {
    "plain": {},
    "layer_norm": {"actor_layer_norm": True},
    "no_one_hot": {"task_one_hot": False},
    "shared_head": {"architecture": "single_head"},
}


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("options", NETWORKS.values(), ids=NETWORKS.keys())
def test_acts_as_the_network_after_each_load(options: dict, rows: int) -> None:
    config = NetworkConfig([16, 16], [16], log_std_min=-1.0, log_std_max=0.1, **options)
    policy = ActingPolicy(build_actor(M, OBS, ACTION, config), config, rows_per_task=rows)
    rng = np.random.default_rng(0)
    obs = rng.standard_normal((M * rows, OBS), dtype=np.float32)
    noise = rng.standard_normal((M * rows, ACTION), dtype=np.float32)
    for version in (1, 2):
        actor = build_actor(M, OBS, ACTION, config)
        for parameter in actor.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
        policy.load(flat_weights(actor), version)
        with torch.no_grad():
            task_major = torch.from_numpy(obs).view(M, rows, OBS)
            mean, log_std = actor(task_major)[0].flatten(0, 1).chunk(2, dim=-1)
            bounded = squash_log_std(log_std, config.log_std_min, config.log_std_max)
            sampled, _ = sample_squashed(mean, bounded, torch.from_numpy(noise))

        deterministic, explored = policy.act(obs, None), policy.act(obs, noise)

        assert deterministic.dtype == explored.dtype == np.float32
        assert np.allclose(deterministic, torch.tanh(mean), atol=1e-5)
        assert np.allclose(explored, sampled, atol=1e-5)
        assert (log_std != bounded).any()
