"""Training is the same, byte for byte, on the fast environments and on the library's own."""

from __future__ import annotations

from pathlib import Path

from mtrl.cli import main
from mtrl.runs.metric_log import read_jsonl

OPTIONS = [
    "env.tasks=[reach-v3,push-v3,window-open-v3]", "env.horizon=25", "collect.collector=local",
    "collect.rollout_steps=20", "schedule.mode=sync", "schedule.total_env_steps=300",
    "schedule.warmup_env_steps=120", "networks.actor=[16]", "networks.critic=[16]",
    "sac.batch_size=8", "evaluation.interval_env_steps=180", "evaluation.goals=1",
    "evaluation.final=false", "run.log_interval_updates=2", "run.diagnostics_interval_updates=2",
    "run.tensorboard=false",
]  # fmt: skip


def metrics(folder: Path, fast: bool) -> bytes:
    options = [f"env.fast={str(fast).lower()}", f"run.directory={folder}"]
    assert main(["train", "-c", "mt10/quick", *OPTIONS, *options]) == 0
    (run,) = folder.iterdir()
    assert any("eval/mean_success_rate" in r for r in read_jsonl(run / "metrics.jsonl"))
    return (run / "metrics.jsonl").read_bytes()


def test_fast_and_original_environments_train_alike(tmp_path: Path) -> None:
    fast, original = (metrics(tmp_path / name, name == "fast") for name in ("fast", "original"))
    assert fast == original
    assert fast.count(b"\n") >= 3
