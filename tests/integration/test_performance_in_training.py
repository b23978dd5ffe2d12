"""From a simulator's success to PIVRG's omega, through the whole command on the fake tasks."""

from __future__ import annotations

import gc
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML

from mtrl.cli import main
from mtrl.envs.fake import FakeTask
from mtrl.report.results import summarise
from mtrl.runs.directory import RunDirectory
from mtrl.runs.metric_log import read_jsonl

JOB = [
    "-c", "fake", "method=pivrg", "env.horizon=20", "run.tensorboard=false",
    "schedule.total_env_steps=4500", "schedule.warmup_env_steps=900", "sac.batch_size=8",
    "schedule.updates_per_env_step=0.05", "networks.actor=[8]", "networks.critic=[8]",
    "evaluation.interval_env_steps=0", "evaluation.final=false", "run.log_interval_updates=15",
]  # fmt: skip
EVALUATIONS = ["balancing.performance=evaluation", "evaluation.interval_env_steps=1500"]


@pytest.fixture(autouse=True)
def fixed_outcomes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first fake task never succeeds, the others always do."""
    step = FakeTask.step

    def fixed(self: FakeTask, action: Any) -> Any:
        obs, reward, _ = step(self, action)
        return obs, reward, {"success": float(self.rotation[0, 0] < 1.0)}

    monkeypatch.setattr(FakeTask, "step", fixed)


def train(base: Path, *options: str) -> Path:
    assert main(["train", *JOB, *options, f"run.directory={base}"]) == 0
    (run,) = base.iterdir()
    return run


def series(run: Path, name: str) -> tuple[list[int], np.ndarray]:
    """Environment steps of the log's records, and the tasks' values `[records, 3]`."""
    records = [r for r in read_jsonl(run / "metrics.jsonl") if f"{name}/fake-0" in r]
    values = [[r[f"{name}/fake-{i}"] for i in range(3)] for r in records]
    return [r["env_steps"] for r in records], np.array(values, np.float64)


@pytest.mark.parametrize(("options", "silent"), [([], 1000), (EVALUATIONS, 1500)])
def test_success_moves_omega(tmp_path: Path, options: list[str], silent: int) -> None:
    run = train(tmp_path, *options)
    for part in ("critic", "actor"):
        steps, omega = series(run, f"balance/omega/{part}")
        assert (omega[np.array(steps) <= silent] == 1.0).all()  # too few episodes
        assert omega[-1] == pytest.approx([1.5, 0.75, 0.75], abs=1e-3)
    _, rates = series(run, "performance/success_rate")
    assert np.isnan(rates[0]).all()
    assert rates[-1] == pytest.approx([0.0, 1.0, 1.0], abs=0.05)
    assert (series(run, "performance/count")[1][-1] >= 10).all()
    assert (series(run, "performance/standard_error")[1][-1] > 0).all()
    age = series(run, "performance/age")[1][-1]
    assert ((age > 0) & (age < 3000)).all()


def test_warm_up_says_nothing(tmp_path: Path) -> None:
    run = train(tmp_path, "balancing.min_episodes=1", "schedule.warmup_env_steps=4000",
                "schedule.total_env_steps=8000")  # fmt: skip
    steps, count = series(run, "performance/count")
    # Warm-up is 1350 steps of each environment. Episodes are 20 long and staggered, so the first that
    # begin after it begin at these steps.
    first = np.array([1367, 1353, 1360])
    assert steps
    for at, counted in zip(steps, count, strict=True):
        assert counted.tolist() == ((at // 3 - first) // 20).tolist()


def test_a_reset_of_the_networks_clears_the_rates(tmp_path: Path) -> None:
    run = train(tmp_path, "sac.resets=1", "sac.updates_after_reset=15")
    updates = [
        r["updates"] for r in read_jsonl(run / "metrics.jsonl") if "performance/age/fake-0" in r
    ]
    _, omega = series(run, "balance/omega/critic")
    reset_at = int((2250 - 900) * 0.05)
    before, after = [[u for u in updates if u <= reset_at], [u for u in updates if u > reset_at]]
    assert omega[len(before) - 1].max() > 1.4
    assert omega[len(before) + 1].tolist() == [1.0] * 3
    assert omega[-1] == pytest.approx([1.5, 0.75, 0.75], abs=1e-3)
    assert after


def test_a_resumed_run_knows_what_it_knew(tmp_path: Path) -> None:
    """With evaluations as the source nothing new comes in before the next one."""
    run = train(tmp_path, *EVALUATIONS, "run.checkpoint_interval_env_steps=1800",
                "run.keep_checkpoints=9")  # fmt: skip
    for path in sorted((run / "checkpoints").glob("step_*"))[1:]:
        shutil.rmtree(path)
    (kept,) = (run / "checkpoints").glob("step_*")
    at = int(kept.name.removeprefix("step_"))
    assert 1500 < at < 3000
    gc.collect()  # the first call's lock
    assert main(["train", "--resume", str(run)]) == 0
    steps, omega = series(run, "balance/omega/critic")
    resumed = np.array(steps) > at
    assert resumed[:-1].any()
    assert omega[resumed] == pytest.approx(np.tile([1.5, 0.75, 0.75], (resumed.sum(), 1)))


def test_a_baseline_is_what_success_is_compared_with(tmp_path: Path) -> None:
    alone = tmp_path / "alone.json"
    # Behind by 100, 0 and (1 - 1 / 0.5) 100 percent: tau is 200 / ln 2, so ratios are 2 and sqrt 2.
    alone.write_text(json.dumps({"fake-0": 0.9, "fake-1": 1.0, "fake-2": 0.5}))
    run = train(tmp_path / "runs", f"balancing.baseline={alone}", "balancing.smoothing=none")
    omega = series(run, "balance/omega/critic")[1][-1]
    assert omega == pytest.approx(3 * np.array([2.0, 2**0.5, 1.0]) / (3 + 2**0.5))
    kept = json.loads((run / "baseline.json").read_text())
    assert kept == {"fake-0": 0.9, "fake-1": 1.0, "fake-2": 0.5}
    alone.unlink()  # the run has its copy
    gc.collect()  # the first call's lock
    assert main(["train", "--resume", str(run)]) == 0


def test_omega_one_is_an_arm_of_its_own(tmp_path: Path) -> None:
    run = train(tmp_path, "method_options.omega=one", "evaluation.final=true")
    assert (series(run, "balance/omega/critic")[1] == 1.0).all()
    assert run.name.startswith("fake-pivrg-omega-one-s0-")
    config = YAML(typ="safe", pure=True).load((run / "config.yaml").read_text())
    assert config["method_options"] == {"omega": "one"}
    assert summarise(RunDirectory(run))["method"] == "pivrg-omega-one"


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["balancing.window_env_steps=300"], ["min_episodes", "window_env_steps", "holds 5"]),
        ([*EVALUATIONS, "evaluation.goals=1"], ["min_episodes", "holds 4", "goals"]),
        (["method=ls", "balancing.actor_method=pivrg", "balancing.window_env_steps=300"],
         ["min_episodes"]),
        (["balancing.baseline=nowhere.json"], ["balancing.baseline", "nowhere.json"]),
        (["method_options.omega=two"], ["omega", "one"]),
    ],
)  # fmt: skip
def test_what_could_never_be_known_is_refused(
    tmp_path: Path, options: list[str], parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *JOB, *options, f"run.directory={tmp_path / 'runs'}"]) == 2
    errors = capsys.readouterr().err
    for part in parts:
        assert part in errors
    assert not (tmp_path / "runs").exists()


def test_a_method_without_performance_may_have_a_short_window(tmp_path: Path) -> None:
    train(tmp_path, "method=ls", "balancing.window_env_steps=1")
