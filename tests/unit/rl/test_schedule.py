"""The schedules' counters; `test_trainer.py` drives them through the training loop."""

from __future__ import annotations

import pytest

from mtrl.rl.config import ScheduleConfig
from mtrl.rl.schedule import ResetSchedule, Schedule


def test_warm_up_acts_at_random_then_follows_the_policy() -> None:
    schedule = Schedule(ScheduleConfig(total_env_steps=40, warmup_env_steps=20), 10)
    seen = []
    while schedule.may_request:
        seen.append(schedule.explore)
        schedule.on_request(0, 0, schedule.explore)
    assert seen == ["uniform", "uniform", "policy", "policy"]


def test_a_resumed_schedule_asks_again_for_what_was_in_flight() -> None:
    schedule = Schedule(ScheduleConfig(total_env_steps=100), 10)
    schedule.env_steps, schedule.requested_env_steps, schedule.updates = 30, 50, 2
    other = Schedule(ScheduleConfig(total_env_steps=100), 10)
    other.load_state_dict(schedule.state_dict())
    assert (other.env_steps, other.requested_env_steps, other.updates) == (30, 30, 2)


@pytest.mark.parametrize(("total", "warmup"), [(4_000, 2_000), (40_000, 20_000), (10**6, 20_000)])
def test_warm_up_takes_half_of_a_short_run_at_the_most(total: int, warmup: int) -> None:
    config = ScheduleConfig(total_env_steps=total, warmup_env_steps=20_000)
    schedule = Schedule(config, 100)
    assert config.warmup == warmup
    schedule.requested_env_steps = warmup - 100
    assert schedule.explore == "uniform"
    schedule.requested_env_steps = schedule.env_steps = warmup
    assert schedule.explore == "policy" and schedule.updates_due == 0
    schedule.env_steps += 100
    assert schedule.updates_due == 10


def test_resets_are_evenly_spaced_and_go_on_after_a_resume() -> None:
    resets, seen = ResetSchedule(3, 1000), []
    for env_steps in range(0, 1001, 10):
        if env_steps == 600:
            state, resets = resets.state_dict(), ResetSchedule(3, 1000)
            resets.load_state_dict(state)
        if resets.due(env_steps):
            seen.append(env_steps)
            resets.on_reset()
    assert seen == [250, 500, 750]
    assert not ResetSchedule(0, 1000).due(1000)
