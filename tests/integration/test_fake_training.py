"""The whole command on the fake tasks: learns, resumes, stops, and refuses bad input."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mtrl.cli import main
from mtrl.config_files import PRESETS
from mtrl.report.run_list import describe
from mtrl.runs import checkpoint
from mtrl.runs.directory import RunDirectory
from mtrl.runs.metric_log import read_jsonl
from tests.helpers import mtrl

SMALL = [
    "-c", "fake", "run.tensorboard=false", "schedule.total_env_steps=6000",
    "schedule.warmup_env_steps=600", "networks.actor=[16]", "networks.critic=[16]",
    "sac.batch_size=8", "run.checkpoint_interval_env_steps=600", "evaluation.interval_env_steps=0",
]  # fmt: skip


def only_run(base: Path) -> Path:
    (run,) = base.iterdir()
    return run


def final_state(run: Path) -> dict:
    return checkpoint.load_latest(run / "checkpoints")[1]


def test_training_reaches_near_full_success(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = mtrl("train", "-c", "fake", f"run.directory={tmp_path}", timeout=240)
    assert result.returncode == 0, result.stderr
    run = only_run(tmp_path)
    final = json.loads((run / "eval" / "final.json").read_text())
    assert final["mean_success_rate"] >= 0.85
    assert final["goals"] == list(range(50))

    # What a person gets: a table, a picture, logs, a policy.
    assert f"mean success rate: {final['mean_success_rate']:.3f}" in result.stdout
    assert (run / "curves.png").stat().st_size > 10_000
    assert list(run.glob("events.out.tfevents.*"))
    records = read_jsonl(run / "metrics.jsonl")
    assert {"env_steps", "updates", "episodes"} <= set(records[0])
    names = set().union(*records)
    for name in (
        "charts/mean_success_rate",
        "losses/critic/fake-0",
        "losses/actor/fake-2",
        "balance/weight/critic/fake-1",
        "sac/alpha/fake-0",
        "final/mean_success_rate",
    ):
        assert name in names  # fmt: skip
    assert "balance/cos_min/actor" in names
    assert "charts/SPS" in read_jsonl(run / "timing.jsonl")[-1]

    assert main(["eval", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["success"] == final["success"]
    check_policy(run)


def test_an_untrained_policy_fails(tmp_path: Path) -> None:
    options = [f"run.directory={tmp_path}", "schedule.total_env_steps=0", "run.tensorboard=false"]
    assert main(["train", "-c", "fake", *options]) == 0
    chance = json.loads((only_run(tmp_path) / "eval" / "final.json").read_text())
    assert chance["mean_success_rate"] < 0.3


def check_policy(run: Path) -> None:
    import numpy as np

    import mtrl as package
    from mtrl.envs import make

    policy = package.load_policy(run)
    successes = 0
    for goal in range(10):
        env = make("fake-1", horizon=40)
        obs, _ = env.reset(options={"goal": goal})
        for _ in range(40):
            obs, _, _, _, info = env.step(policy.act(obs, "fake-1"))
            if info["success"]:
                successes += 1
                break
    assert successes >= 7
    rows = np.stack([obs, obs + 0.1])
    assert np.allclose(policy.act(rows, 1)[0], policy.act(obs, "fake-1"), atol=1e-6)
    with pytest.raises(ValueError, match="fake-0"):
        policy.act(obs, "reach-v3")
    with pytest.raises(ValueError, match="3 tasks"):
        policy.act(obs, 3)


@pytest.mark.parametrize("envs", [1, 2])
def test_kill_and_resume_ends_with_the_same_counters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], envs: int
) -> None:
    job = [*SMALL, f"collect.envs_per_task={envs}"]
    assert main(["train", *job, f"run.directory={tmp_path / 'whole'}"]) == 0
    base = tmp_path / "killed"
    command = [sys.executable, "-m", "mtrl", "train", *job, f"run.directory={base}"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = sorted(base.glob("*/checkpoints/step_*"))
        if found and int(found[-1].name[5:]) >= 1800:
            break
        time.sleep(0.02)
    process.kill()
    process.wait()
    run = only_run(base)
    before = final_state(run)["schedule"]
    assert 1800 <= before["env_steps"] < 6000, "the run should die in the middle"
    assert describe(RunDirectory(run))["state"] == "dead"

    assert main(["train", "--resume", str(run)]) == 0
    ours, theirs = final_state(run), final_state(only_run(tmp_path / "whole"))
    assert ours["schedule"] == theirs["schedule"]
    assert ours["schedule"]["updates"] == 540
    assert ours["replay"]["added"] == theirs["replay"]["added"] == [2000, 2000, 2000]
    steps = [r["env_steps"] for r in read_jsonl(run / "metrics.jsonl")]
    assert steps == sorted(steps)
    assert len(set(steps)) >= len(steps) - 1, "nothing is written twice (but the final evaluation)"
    assert describe(RunDirectory(run))["state"] == "done"
    capsys.readouterr()
    assert main(["runs", str(base), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["env_steps"], row["updates"]) == (6000, 540)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_with_a_checkpoint(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-m", "mtrl", "train", *SMALL, f"run.directory={tmp_path}",
               "schedule.total_env_steps=6000000"]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list(tmp_path.glob("*/checkpoints/step_*")):
        time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75, errors
    assert "--resume" in errors
    run = only_run(tmp_path)
    assert json.loads((run / "status.json").read_text())["state"] == "interrupted"
    assert final_state(run)["schedule"]["env_steps"] > 0


@pytest.mark.parametrize("envs", [1, 4])
def test_sync_training_is_reproducible(tmp_path: Path, envs: int) -> None:
    contents = []
    for name in ("a", "b"):
        options = [f"run.directory={tmp_path / name}", f"collect.envs_per_task={envs}"]
        assert main(["train", *SMALL, *options]) == 0
        contents.append((only_run(tmp_path / name) / "metrics.jsonl").read_bytes())
    assert contents[0] == contents[1]
    assert contents[0].count(b"\n") > 3


def test_starting_from_another_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    learning = ["schedule.total_env_steps=3000", "sac.batch_size=32"]
    learning += ["sac.actor_lr=3e-3", "sac.critic_lr=3e-3"]
    assert main(["train", *SMALL, *learning, f"run.directory={tmp_path / 'a'}"]) == 0
    source = only_run(tmp_path / "a")
    untrained = [*SMALL, "schedule.total_env_steps=0"]
    assert main(["train", *untrained, f"run.directory={tmp_path / 'c'}"]) == 0
    assert (
        main(["train", *untrained, f"run.directory={tmp_path / 'b'}", "--init-from", str(source)])
        == 0
    )
    learnt, taken, fresh = (
        json.loads((run / "eval" / "final.json").read_text())["success"]
        for run in (source, only_run(tmp_path / "b"), only_run(tmp_path / "c"))
    )
    assert taken == learnt
    assert taken != fresh
    assert sum(map(sum, learnt.values())) >= 10, "of 150: it meets some goals"
    theirs, ours = final_state(source), final_state(only_run(tmp_path / "b"))
    for part in ("actor", "critic", "target"):
        for name, value in theirs["agent"][part].items():
            assert value.equal(ours["agent"][part][name]), (part, name)
    assert theirs["agent"]["log_alpha"].equal(ours["agent"]["log_alpha"])
    assert ours["schedule"]["updates"] == 0, "networks and temperatures, nothing else"

    assert main(["train", *SMALL, "networks.actor=[8]", "--init-from", str(source)]) == 2
    assert "other networks" in capsys.readouterr().err
    assert main(["train", *SMALL, "env.tasks=fake2", "--init-from", str(source)]) == 2
    assert "other tasks" in capsys.readouterr().err


def test_the_replay_is_built_as_configured(tmp_path: Path) -> None:
    options = ["sac.n_step=4", "sac.discount=0.5", "replay.capacity=90", "seed=5"]
    options += [f"run.directory={tmp_path}", "evaluation.final=false"]
    assert main(["train", *SMALL, *options, "schedule.total_env_steps=600"]) == 0
    replay = final_state(only_run(tmp_path))["replay"]
    # 200 steps of each task; four rewards each, but for the last steps of a fragment.
    assert replay["added"] == [200, 200, 200]
    assert replay["rings"]["reward"].shape == (3, 90)
    discounts = sorted(set(replay["rings"]["discount"].flatten().tolist()))
    assert discounts == [0.5**4, 0.5**3, 0.5**2, 0.5]
    assert (replay["rings"]["discount"] == 0.5**4).float().mean() > 0.8


@pytest.mark.parametrize(
    ("arguments", "code", "parts"),
    [
        (["sac.batchsize=3"], 2, ["sac.batch_size"]),
        (["method=pivgr"], 2, ["pivgr", "pivrg"]),
        (["method=pivrg", "method_options.bond=2"], 2, ["bond", "bound"]),
        (["method=pivrg", "method_options.bound=0.5"], 2, ["bound", "above 1"]),
        (["env.tasks=[reech-v3]"], 2, ["reech-v3", "reach-v3"]),
        (["env.tasks=mt11"], 2, ["mt11", "mt10"]),
        (["-c", "mt10/quik"], 2, ["mt10/quick"]),
        (["sac.batch_size=300000"], 2, ["replay.capacity"]),
        (["collect.num_workers=0"], 2, ["collect.num_workers"]),
        (["collect.num_workers=-1"], 2, ["collect.num_workers"]),
        (["collect.envs_per_task=0"], 2, ["collect.envs_per_task", "1"]),
        (["collect.envs_per_task=1.5"], 2, ["collect.envs_per_task"]),
        (["schedule.mode=async"], 2, ["schedule.mode", "ray"]),
        (["device=cuda"], 2, ["device", "GPU"]),
        (["precision=tf32"], 2, ["precision", "GPU"]),
        (["schedule.max_policy_lag=10"], 2, ["max_policy_lag", "publish_interval"]),
        (["balancing.performance=evaluation"], 2, ["evaluation.interval_env_steps"]),
        (["method=sam_gs", "balancing.head_scaling=weights"], 2, ["head_scaling", "sam_gs"]),
        (["--resume", "nowhere"], 2, ["--resume"]),
        (["balancing.actor_method=famo"], 2, ["actor_method", "negative"]),
        (["method=imtl_g", "method_options.pi={}"], 2, ["IMTLG", "pi"]),
    ],
)
def test_bad_input_is_refused_before_anything_starts(
    tmp_path: Path,
    arguments: list[str],
    code: int,
    parts: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["train", *SMALL, f"run.directory={tmp_path / 'runs'}", *arguments]) == code
    errors = capsys.readouterr().err
    for part in parts:
        assert part in errors
    assert not (tmp_path / "runs").exists()


def test_a_run_in_use_or_without_a_checkpoint_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--resume", str(tmp_path / "nothing")]) == 2
    assert "not a run directory" in capsys.readouterr().err
    assert main(["train", *SMALL, "schedule.total_env_steps=0", f"run.directory={tmp_path}"]) == 0
    run = RunDirectory(only_run(tmp_path))
    run.acquire()
    assert main(["train", "--resume", str(run.path)]) == 2
    run.release()
    assert f"in use by another process (pid {os.getpid()})" in capsys.readouterr().err
    run.write_status("interrupted")
    for path in (run.path / "checkpoints").glob("*/state.json"):
        path.write_text("{")
    assert main(["train", "--resume", str(run.path)]) == 1
    assert "Every checkpoint" in capsys.readouterr().err


def test_a_loss_that_is_not_finite_stops_with_a_dump(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # A reward factor of 1e30 overflows the squared error at the first update.
    assert main(["train", *SMALL, f"run.directory={tmp_path}", "sac.reward_factor=1e30"]) == 1
    assert "not finite" in capsys.readouterr().err
    run = only_run(tmp_path)
    (dump,) = (run / "dump").iterdir()
    state = checkpoint.load(dump)
    assert state["batch"]["obs"].shape[0] == 3
    assert json.loads((run / "status.json").read_text())["state"] == "failed"


def test_fixed_weights_come_from_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = [*SMALL, "collect.collector=local", "schedule.mode=sync", "evaluation.final=false"]
    assert main(["train", *short, f"run.directory={tmp_path}/a", "method=nash_mtl"]) == 0
    log = only_run(tmp_path / "a") / "metrics.jsonl"
    key, mean = "balance/weight/critic", None
    for record in read_jsonl(log):
        if f"{key}/fake-0" in record:
            row = [record[f"{key}/fake-{i}"] for i in range(3)]
            mean = [0.9 * old + 0.1 * new for old, new in zip(mean or row, row, strict=True)]
    assert mean is not None
    fixed = [*short, f"run.directory={tmp_path}/b", "method=fixed"]
    assert main(["train", *fixed, f"method_options.log={log}"]) == 0
    record = read_jsonl(only_run(tmp_path / "b") / "metrics.jsonl")[-1]
    found = [record[f"{key}/fake-{i}"] for i in range(3)]
    assert found == pytest.approx([3 * weight / sum(mean) for weight in mean])
    assert main(["train", *fixed, f"method_options.log={log}.gone"]) == 2
    assert "should be the metrics.jsonl of a run" in capsys.readouterr().err


@pytest.mark.parametrize("preset", sorted(PRESETS.glob("mt10/*.yaml")), ids=lambda path: path.stem)
def test_every_preset_trains_on_fake_tasks(tmp_path: Path, preset: Path) -> None:
    options = [
        "env.tasks=fake3", "env.horizon=20", "collect.collector=local", "schedule.mode=sync",
        "networks.actor=[8]", "networks.critic=[8]", "schedule.total_env_steps=3000",
        "schedule.warmup_env_steps=600", "schedule.updates_per_env_step=0.02", "sac.batch_size=4",
        "sac.updates_after_reset=5", "collect.rollout_steps=50", "evaluation.interval_env_steps=1500",
        "run.log_interval_updates=10", f"run.directory={tmp_path}", "run.tensorboard=false",
    ]  # fmt: skip
    assert main(["train", "-c", str(preset), *options]) == 0
    (run,) = tmp_path.iterdir()
    state = final_state(run)
    resets = state["resets"]["done"]
    assert resets == (3 if preset.stem == "strong" else 0)
    assert state["schedule"]["updates"] == 48 + 5 * resets
    assert state["agent"]["log_alpha"].shape == (1 if preset.stem == "paper" else 3,)
    assert (state["collector"]["workers"][0]["scales"][0] is None) == (preset.stem != "paper")
    assert json.loads((run / "eval" / "final.json").read_text())["env_steps"] > 0
