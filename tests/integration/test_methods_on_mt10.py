"""Every method trains on real MT10 for about a minute (run with `scripts/test -m slow`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mtrl.balancing import METHODS, build, needs_positive_losses
from mtrl.cli import main
from mtrl.runs import checkpoint
from mtrl.runs.gramian_log import read_gramians
from mtrl.runs.metric_log import read_jsonl

UPDATES = 480


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("method", METHODS)
def test_a_minute_of_mt10(tmp_path: Path, method: str, capsys: pytest.CaptureFixture[str]) -> None:
    weights = [f"method_options.weights={[1.0] * 5 + [2.0] * 5}"] if method == "fixed" else []
    options = [
        f"run.directory={tmp_path}", f"method={method}", *weights, "collect.collector=local",
        "schedule.mode=sync", "schedule.total_env_steps=16000", "schedule.warmup_env_steps=4000",
        "evaluation.final=false", "evaluation.interval_env_steps=0", "run.tensorboard=false",
        "run.log_interval_updates=120",
    ]  # fmt: skip
    assert main(["train", "-c", "mt10/quick", *options]) == 0
    said = capsys.readouterr().err
    actor = "ls" if needs_positive_losses(method, {}) else method
    assert f"{method} for the critic, {actor} for the actor" in said
    (run,) = tmp_path.iterdir()
    state = checkpoint.load_latest(run / "checkpoints")[1]
    assert state["schedule"]["updates"] == UPDATES

    records = [r for r in read_jsonl(run / "metrics.jsonl") if "losses/critic/reach-v3" in r]
    assert len(records) == 4
    losses = [v for r in records for k, v in r.items() if k.startswith("losses/")]
    assert np.isfinite(np.array(losses, float)).all()
    for part in ("actor", "critic"):
        steps = state["agent"]["optimizers"][part]["state"]
        assert all(float(s["step"]) > 0 for s in steps.values()), "every update moved the weights"
        assert all(torch.isfinite(v).all() for v in state["agent"][part].values())

    shared = sum(v.numel() for k, v in state["agent"]["critic"].items() if k.startswith("trunk."))
    own = {"weights": [1.0] * 5 + [2.0] * 5} if method == "fixed" else {}
    fresh = build(method, 10, shared, **own).state_dict()
    saved = state["agent"]["balancers"]["critic"]
    assert list(saved) == list(fresh)
    if fresh and method != "fixed":
        assert any(not torch.equal(saved[k], fresh[k]) for k in fresh), "its state advances"
    gramians = read_gramians(run)
    assert np.isfinite(gramians["gramian"]).all()
    assert len(gramians) == 2 * -(-UPDATES // 100)
