"""On a GPU: `scripts/test -m gpu`. Without one these fail, which is what they should say."""

from __future__ import annotations

import pytest
import torch

from mtrl.rl.config import BalancingConfig, SACConfig
from mtrl.rl.learning.learner import Learner, cuda_graph_pools
from mtrl.rl.learning.replay import Replay
from mtrl.rl.learning.sac import MultiTaskSAC
from mtrl.rl.learning.weight_sync import WeightSync
from tests.helpers import NETWORKS, make_fragment

pytestmark = pytest.mark.gpu
METHODS = {
    "ls": {},
    "famo": {},
    "pcgrad": {},
    "sam_gs": {},
    "rgb": {},
    "pivrg": {"solver": "device"},
    "nash_mtl": {"solver": "newton"},  # asks the host
}


def make_learner(method: str, *, captured: bool) -> Learner:
    sac = SACConfig(batch_size=8, actor_interval=2)
    agent = MultiTaskSAC(
        3,
        4,
        2,
        networks=NETWORKS,
        sac=sac,
        balancing=BalancingConfig(),
        method=method,
        method_options=METHODS[method],
        device="cuda",
    )
    replay = Replay(3, 40, 4, 2, discount=0.99, device="cuda", seed=1)
    for task in range(3):
        replay.add(make_fragment(15, task=task))
    new_pool = cuda_graph_pools(agent, replay) if captured else None
    learner = Learner(agent, replay, new_pool=new_pool)
    learner.set_performance(torch.tensor([0.2, 0.9, float("nan")]))
    return learner


@pytest.mark.parametrize("method", METHODS)
def test_replayed_updates_are_the_same(method: str) -> None:
    plain, captured = (make_learner(method, captured=c) for c in (False, True))
    for i in range(20):
        for learner in (plain, captured):
            if i == 10:
                learner.replay.add(make_fragment(10, task=1, start=3.0))
            learner.update(i, diagnose=i == 12)
    assert captured.captured
    for wanted, got in zip(
        plain.agent.critic.parameters(), captured.agent.critic.parameters(), strict=True
    ):
        torch.testing.assert_close(wanted, got, rtol=1e-4, atol=1e-6)


def test_a_replayed_update_never_waits_for_the_device() -> None:
    learner = make_learner("pivrg", captured=True)
    for number in range(8):
        learner.update(number)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for number in range(8, 16):
            learner.update(number)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_weights_arrive_as_they_were() -> None:
    learner = make_learner("ls", captured=True)
    export = WeightSync(learner.agent.actor)
    expected = torch.cat([p.detach().flatten() for p in learner.agent.actor.parameters()]).cpu()
    export.start(3)
    learner.update(0)
    taken = export.take(wait=True)
    assert taken is not None
    assert torch.equal(torch.from_numpy(taken[0]), expected)
