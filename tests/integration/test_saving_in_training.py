"""What a run can lose: it saves by steps, by the clock, before an error and at a signal."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mtrl.cli import main
from mtrl.rl.acting.local import LocalCollector
from mtrl.rl.learning.learner import Learner
from mtrl.runs import checkpoint
from mtrl.runs.checkpoint import Writer
from mtrl.runs.directory import RunDirectory
from mtrl.supervised.epoch_trainer import EpochTrainer
from mtrl.supervised.model_learner import ModelLearner

RL = [
    "train", "-c", "fake", "run.tensorboard=false", "schedule.total_env_steps=3000",
    "schedule.warmup_env_steps=600", "networks.actor=[8]", "networks.critic=[8]",
    "sac.batch_size=4", "run.checkpoint_interval_env_steps=600", "evaluation.interval_env_steps=0",
    "evaluation.final=false",
]  # fmt: skip
SUPERVISED = [
    "supervised", "-c", "supervised/digits", "problem_options.pairs=96", "recipe.batch_size=32",
    "recipe.epochs=4", "method=ls", "run.tensorboard=false", "run.checkpoint_interval_epochs=100",
]  # fmt: skip
Patch = pytest.MonkeyPatch
Captured = pytest.CaptureFixture[str]


def train(base: Path, job: list[str], *arguments: str) -> int:
    return main([*job, f"run.directory={base}", *arguments])


def only_run(base: Path) -> Path:
    (run,) = (path.parent for path in base.glob("*/config.yaml"))
    return run


def saved(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").glob("step_*"))


def last(run: Path) -> dict[str, Any]:
    return checkpoint.load_latest(run / "checkpoints")[1]


def at_call(patch: Patch, owner: type, name: str, number: int, do: Callable[[], None]) -> None:
    """Do something at the n-th call of a method, before it."""
    original, calls = getattr(owner, name), 0

    def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            do()
        return original(*arguments, **options)

    patch.setattr(owner, name, counted)


def break_down() -> None:
    raise RuntimeError("the cluster is gone")


def test_an_error_between_two_rollouts_loses_nothing(
    tmp_path: Path, monkeypatch: Patch, capsys: Captured
) -> None:
    with monkeypatch.context() as patch:
        at_call(patch, LocalCollector, "receive", 16, break_down)
        with pytest.raises(RuntimeError, match="the cluster is gone"):
            train(tmp_path, RL)
    run = only_run(tmp_path)
    assert saved(run)[-1] == f"step_{15 * 150:012d}", "a rollout has 150 steps"
    assert "A checkpoint was written before the error" in capsys.readouterr().err
    assert json.loads((run / "status.json").read_text())["state"] == "failed"
    assert main(["train", "--resume", str(run)]) == 0
    state = last(run)
    assert state["schedule"] == {"env_steps": 3000, "updates": 240, "extra_updates": 0}
    assert state["replay"]["added"] == [1000] * 3


def test_half_an_update_is_not_saved(tmp_path: Path, monkeypatch: Patch, capsys: Captured) -> None:
    with monkeypatch.context() as patch:
        at_call(patch, Learner, "update", 130, break_down)
        with pytest.raises(RuntimeError, match="the cluster is gone"):
            train(tmp_path, RL)
    run = only_run(tmp_path)
    assert saved(run)[-1] == "step_000000001800", "the last one of the interval, not the 1,950"
    assert "in the middle of a change" in capsys.readouterr().err


def test_after_a_loss_that_is_not_finite_nothing_is_saved(tmp_path: Path) -> None:
    assert train(tmp_path, RL, "sac.reward_factor=1e30", "run.checkpoint_interval_env_steps=0") == 1
    run = only_run(tmp_path)
    assert list((run / "dump").iterdir())
    assert saved(run) == []


def test_the_clock_saves_beside_the_steps(tmp_path: Path, monkeypatch: Patch) -> None:
    def steps_of_checkpoints(*arguments: str) -> list[int]:
        steps: list[int] = []
        with monkeypatch.context() as patch:
            patch.setattr(Writer, "submit", lambda self, step, state: steps.append(step))
            base = tmp_path / str(len(list(tmp_path.iterdir())))
            assert train(base, RL, "run.checkpoint_interval_env_steps=0", *arguments) == 0
        return steps

    assert steps_of_checkpoints("run.checkpoint_interval_s=0") == [3000], "only at the end"
    assert steps_of_checkpoints() == [3000], "the default is minutes, this run seconds"
    always = steps_of_checkpoints("run.checkpoint_interval_s=1e-9")
    assert set(always) == set(range(150, 3001, 150))
    assert len(always) > 240, "within a burst of updates too"


def test_a_signal_does_not_wait_for_all_due_updates(tmp_path: Path, monkeypatch: Patch) -> None:
    """One rollout of 600 steps allows 120 updates here; the signal comes at the fifth."""
    arguments = ["collect.rollout_steps=200", "schedule.updates_per_env_step=0.2"]
    with monkeypatch.context() as patch:
        at_call(patch, Learner, "update", 5, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert train(tmp_path, RL, *arguments) == 75
    run = only_run(tmp_path)
    assert last(run)["schedule"] == {"env_steps": 1200, "updates": 5, "extra_updates": 0}
    assert main(["train", "--resume", str(run)]) == 0
    assert last(run)["schedule"] == {"env_steps": 3000, "updates": 480, "extra_updates": 0}


def test_a_signal_before_the_first_step_leaves_a_run_to_resume(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    with monkeypatch.context() as patch:
        at_call(patch, LocalCollector, "publish", 1, lambda: os.kill(os.getpid(), signal.SIGINT))
        assert train(tmp_path, RL) == 75
    run = only_run(tmp_path)
    assert saved(run) == ["step_000000000000"]
    assert main(["train", "--resume", str(run)]) == 0
    assert last(run)["schedule"] == {"env_steps": 3000, "updates": 240, "extra_updates": 0}


def test_supervised_training_saves_by_the_clock_within_an_epoch(
    tmp_path: Path, monkeypatch: Patch
) -> None:
    updates: list[int] = []
    save = checkpoint.save

    def noted(folder: Path, step: int, state: Any, **options: Any) -> Path:
        updates.append(step)
        return save(folder, step, state, **options)

    monkeypatch.setattr(checkpoint, "save", noted)
    assert train(tmp_path / "a", SUPERVISED) == 0
    assert updates == [12], "only at the end: four epochs of three updates"
    updates.clear()
    assert train(tmp_path / "b", SUPERVISED, "run.checkpoint_interval_s=1e-9") == 0
    assert updates == [*range(1, 13), 12]
    logs = [(only_run(tmp_path / name) / "metrics.jsonl").read_bytes() for name in "ab"]
    assert logs[0] == logs[1], "saving changes nothing"


@pytest.mark.parametrize(
    ("owner", "name", "updates"),
    [
        (EpochTrainer, "_report", 7),  # between two updates: saved
        (ModelLearner, "step", None),  # within one: not
        (ModelLearner, "evaluate", None),  # within the end of an epoch: not
    ],
)
def test_an_error_in_supervised_training(
    tmp_path: Path,
    monkeypatch: Patch,
    capsys: Captured,
    owner: type,
    name: str,
    updates: int | None,
) -> None:
    with monkeypatch.context() as patch:
        at_call(patch, owner, name, 2 if name == "evaluate" else 7, break_down)
        with pytest.raises(RuntimeError, match="the cluster is gone"):
            train(tmp_path / "cut", SUPERVISED)
    run = only_run(tmp_path / "cut")
    said = capsys.readouterr().err
    if updates is None:
        assert saved(run) == []
        assert "in the middle of a change" in said
        return
    assert last(run)["trainer"]["updates"] == updates
    assert "A checkpoint was written before the error" in said
    assert main(["supervised", "--resume", str(run)]) == 0
    assert train(tmp_path / "whole", SUPERVISED) == 0
    whole = only_run(tmp_path / "whole")
    assert (run / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


def test_resuming_after_damage_keeps_what_is_new(tmp_path: Path, capsys: Captured) -> None:
    assert train(tmp_path, RL, "run.keep_checkpoints=4") == 0
    run = only_run(tmp_path)
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("keep_checkpoints: 4", "keep_checkpoints: 1"))
    assert saved(run)[-2:] == ["step_000000002400", "step_000000003000"]
    for name in saved(run)[-2:]:
        (run / "checkpoints" / name / "state.json").write_text("{")
    RunDirectory.open(run).write_status("failed")  # a finished run is not gone on with
    assert main(["train", "--resume", str(run)]) == 0
    assert saved(run) == ["step_000000003000"]
    assert last(run)["schedule"]["env_steps"] == 3000
    assert "damaged_step_000000003000" in capsys.readouterr().err
