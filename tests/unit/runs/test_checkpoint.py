"""Checkpoints: round trips, damage, interruption of writing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mtrl.runs import checkpoint
from mtrl.runs.checkpoint import CheckpointError

STATE = {
    "agent": {
        "w": torch.arange(6, dtype=torch.float64).view(2, 3).T,
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}, 1: {}}, "lr": 1e-3},
    },
    "replay": {"rings": {"obs": torch.ones(2, 3)}, "added": [1, 2], "array": np.arange(3)},
    "counters": {"env_steps": 2**40, "big": 2**100, "nothing": None, "name": "x", "flag": True},
}


def same(a: object, b: object) -> bool:
    if isinstance(a, np.ndarray):
        a = torch.from_numpy(a)
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return isinstance(b, list) and all(map(same, a, b))
    return a == b and type(a) is type(b)


def test_round_trip(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, 7, STATE)
    assert same(STATE, checkpoint.load(path))


def test_keeps_the_newest(tmp_path: Path) -> None:
    for step in (5, 50, 500):
        checkpoint.save(tmp_path, step, STATE, keep=2)
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["step_000000000050", "step_000000000500"]


def damage(name: str, how: str):
    def apply(path: Path) -> None:
        file = path / name
        if how == "missing":
            file.unlink()
        elif how == "truncated":
            file.write_bytes(file.read_bytes()[:-1])
        elif how == "flipped":
            content = bytearray(file.read_bytes())
            content[len(content) // 2] ^= 1
            file.write_bytes(bytes(content))
        else:
            file.write_bytes(b"")

    return apply


@pytest.mark.parametrize("how", ["missing", "truncated", "flipped", "empty"])
@pytest.mark.parametrize("name", ["agent.safetensors", "replay.safetensors", "state.json", "manifest.json"])
def test_damage_is_found_and_the_one_before_is_used(
    tmp_path: Path, name: str, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint.save(tmp_path, 1, STATE)
    broken = checkpoint.save(tmp_path, 2, STATE)
    damage(name, how)(broken)
    if not (name == "manifest.json" and how == "flipped"):  # a flip in white space changes nothing
        with pytest.raises(CheckpointError, match="damaged"):
            checkpoint.load(broken)
        path, state = checkpoint.load_latest(tmp_path)
        assert path.name == "step_000000000001"
        assert same(STATE, state)
        assert "step_000000000002" in capsys.readouterr().err


def test_all_damaged_or_none_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="No checkpoint"):
        checkpoint.load_latest(tmp_path / "nothing")
    damage("state.json", "empty")(checkpoint.save(tmp_path, 1, STATE))
    with pytest.raises(CheckpointError, match="Every checkpoint"):
        checkpoint.load_latest(tmp_path)


def test_another_format_and_a_path_outside_are_refused(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, 1, STATE)
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(CheckpointError, match="format 99"):
        checkpoint.load(path)
    outside = {"../secret": {"sha256": "", "bytes": 0}}
    (path / "manifest.json").write_text(json.dumps(manifest | {"files": outside}))
    with pytest.raises(CheckpointError, match="not a file here"):
        checkpoint.load(path)


def test_a_write_that_fails_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint.save(tmp_path, 1, STATE)

    def fail(path: Path) -> str:
        raise OSError("disk full")

    monkeypatch.setattr(checkpoint, "_digest", fail)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save(tmp_path, 2, STATE)
    monkeypatch.undo()
    assert checkpoint.load_latest(tmp_path)[0].name == "step_000000000001"


def test_what_cannot_be_stored_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="set"):
        checkpoint.save(tmp_path, 1, {"a": {"b": {1, 2}}})


def test_a_writer_keeps_the_state_of_the_moment(tmp_path: Path) -> None:
    state = {"part": {"tensor": torch.zeros(1000), "list": [1, 2]}}
    writer = checkpoint.Writer(tmp_path, keep=2)
    for step in range(4):
        writer.submit(step, state)
        state["part"]["tensor"] += 1  # training goes on at once
        state["part"]["list"].append(step)
    writer.wait()
    assert [path.name[-1] for path in sorted(tmp_path.glob("step_*"))] == ["2", "3"]
    saved = checkpoint.load_latest(tmp_path)[1]["part"]
    assert saved["tensor"].tolist() == [3.0] * 1000
    assert saved["list"] == [1, 2, 0, 1, 2]


def test_a_writer_s_error_is_not_lost(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    writer = checkpoint.Writer(tmp_path / "file" / "below")
    writer.submit(1, {"part": {"x": 1}})
    with pytest.raises(OSError):
        writer.wait()
    writer.wait()  # said once
