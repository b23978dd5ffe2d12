"""The schedule holds its ratio from both sides, whoever is slower."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from mtrl.rl.config import ScheduleConfig
from mtrl.rl.schedule import Schedule


@settings(max_examples=60, deadline=None)
@given(
    total=st.integers(0, 5000),
    warmup=st.integers(0, 1000),
    ratio=st.floats(0.01, 3.0),
    rollout=st.integers(1, 300),
    slack=st.integers(0, 500),
    publish=st.integers(1, 100),
    max_lag=st.integers(0, 300),
    seed=st.integers(0, 99),
    mode=st.sampled_from(["sync", "async"]),
)
def test_every_run_ends_with_the_same_counters(
    total: int,
    warmup: int,
    ratio: float,
    rollout: int,
    slack: int,
    publish: int,
    max_lag: int,
    seed: int,
    mode: str,
) -> None:
    config = ScheduleConfig(
        total_env_steps=total,
        warmup_env_steps=warmup,
        updates_per_env_step=ratio,
        slack_env_steps=slack,
        publish_interval=publish,
        max_policy_lag=publish + max_lag,
        mode=mode,  # type: ignore[arg-type]
    )
    schedule, chance, acting = Schedule(config, rollout), random.Random(seed), 0
    flying: list[tuple[int, str, int]] = []  # worker, explore, version
    for _ in range(200_000):
        if schedule.done:
            break
        new = schedule.updates - acting
        if new >= publish or (schedule.held_by_lag and new):
            acting = schedule.updates
        moves, in_flight = [], len(flying)
        if in_flight < 4 and schedule.may_request(in_flight):
            moves.append("request")
        if in_flight:
            moves.append("receive")
        if schedule.updates_due:
            moves.append("update")
        assert moves, "neither side may move: the run would hang"
        move = chance.choice(moves)
        if move == "request":
            flying.append((chance.randrange(3), schedule.explore, acting))
            worker, explore, version = flying[-1]
            schedule.requested(worker, version, explore)
            if mode == "async" and in_flight:
                paid = warmup + schedule.updates / ratio
                assert schedule.requested_env_steps <= paid + slack + rollout + 1e-6
        elif move == "receive":
            # Each worker answers in order; which worker is next is chance.
            worker = chance.choice(flying)[0]
            i = next(i for i, (asked, _, _) in enumerate(flying) if asked == worker)
            schedule.received(flying.pop(i)[0], rollout)
        else:
            schedule.updates += 1
            lags = [schedule.updates - v for _, explore, v in flying if explore == "policy"]
            assert mode == "sync" or max(lags, default=0) <= publish + max_lag
        assert schedule.updates <= max(0, schedule.env_steps - warmup) * ratio + 1e-6
    assert schedule.done
    assert schedule.env_steps == -(-total // rollout) * rollout
    assert schedule.updates == int(max(0, schedule.env_steps - warmup) * ratio + 1e-9)


def test_warm_up_acts_at_random_then_follows_the_policy() -> None:
    schedule = Schedule(ScheduleConfig(total_env_steps=40, warmup_env_steps=20), 10)
    seen = []
    while schedule.may_request(0):
        seen.append(schedule.explore)
        schedule.requested(0, 0, schedule.explore)
    assert seen == ["uniform", "uniform", "policy", "policy"]


def test_a_resumed_schedule_asks_again_for_what_was_in_flight() -> None:
    schedule = Schedule(ScheduleConfig(total_env_steps=100), 10)
    schedule.env_steps, schedule.requested_env_steps, schedule.updates = 30, 50, 2
    other = Schedule(ScheduleConfig(total_env_steps=100), 10)
    other.load_state_dict(schedule.state_dict())
    assert (other.env_steps, other.requested_env_steps, other.updates) == (30, 30, 2)
