"""Checkpoints: round trips, damage, interruption of writing."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mtrl.runs import checkpoint
from mtrl.runs.checkpoint import CheckpointError, FormatError

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
    assert names(tmp_path) == ["step_000000000050", "step_000000000500"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_rotation_never_deletes_the_new_one(tmp_path: Path) -> None:
    """Later steps on disk are damaged, or the run would have gone on from them."""
    for keep in (1, 2):
        folder = tmp_path / str(keep)
        for step in (500, 900, 1000):
            checkpoint.save(folder, step, STATE, keep=3)
        for step in (900, 1000):
            damage("state.json", "empty")(folder / f"step_{step:012d}")
        for step in (800, 850):
            path = checkpoint.save(folder, step, STATE, keep=keep)
            assert path.is_dir()
            assert checkpoint.load_latest(folder)[0] == path
        kept = [800, 850][-keep:] + [900, 1000]
        assert names(folder) == [f"step_{step:012d}" for step in kept]


def test_damaged_ones_are_moved_out_of_the_way(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for step in (500, 700, 1000):
        checkpoint.save(tmp_path, step, STATE, keep=3)
    for step in (700, 1000):
        damage("state.json", "empty")(tmp_path / f"step_{step:012d}")
    path, _ = checkpoint.load_latest(tmp_path, set_aside=True)
    assert path.name == "step_000000000500"
    assert "damaged_step_000000000700" in capsys.readouterr().err
    checkpoint.save(tmp_path, 800, STATE, keep=2)
    assert names(tmp_path) == [
        "damaged_step_000000000700", "damaged_step_000000001000",
        "step_000000000500", "step_000000000800",
    ]  # fmt: skip


class Killed(BaseException):
    """Stands for `kill -9`: nothing of ours may catch it."""


def test_a_kill_at_any_moment_leaves_a_valid_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same step is saved again, as at the end of a resumed run, and only one is kept."""
    calls = fatal = 0

    def kill_at(name: str, original):
        def call(path: Path, *rest, **options):
            nonlocal calls
            calls += 1
            if calls == fatal:
                if name == "rmtree":  # half of it is gone already
                    next(Path(path).iterdir()).unlink()
                raise Killed
            return original(path, *rest, **options)

        return call

    for fatal in range(1, 100):
        folder = tmp_path / str(fatal)
        calls = -1000
        checkpoint.save(folder, 5, STATE, keep=1)
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, "_sync", kill_at("sync", checkpoint._sync))
            patch.setattr(checkpoint, "_write", kill_at("write", checkpoint._write))
            patch.setattr(Path, "rename", kill_at("rename", Path.rename))
            patch.setattr(checkpoint.shutil, "rmtree", kill_at("rmtree", checkpoint.shutil.rmtree))
            calls = 0
            try:
                checkpoint.save(folder, 5, STATE, keep=1)
            except Killed:
                assert same(STATE, checkpoint.load_latest(folder)[1]), f"killed at call {fatal}"
                assert fatal < 99
            else:
                break
        # The next call of the run cleans up.
        checkpoint.save(folder, 6, STATE, keep=1)
        assert names(folder) == ["step_000000000006"]
    assert fatal > 10


def test_the_group_may_read_what_the_umask_allows(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        path = checkpoint.save(tmp_path / "checkpoints", 1, STATE)
    finally:
        os.umask(before)
    assert {file.stat().st_mode & 0o777 for file in path.iterdir()} == {0o640}
    assert path.stat().st_mode & 0o777 == 0o750


def test_a_ring_is_copied_once(tmp_path: Path) -> None:
    copied = []

    class Counting(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor) and result.data_ptr() != args[0].data_ptr():
                copied.append(str(func))
            return result

    ring = torch.arange(24.0).view(2, 3, 4)[:, :2]  # its filled part is not contiguous
    with Counting():
        snapshot = checkpoint._snapshot({"replay": {"ring": ring}})
    assert len(copied) == 1
    stored = snapshot["replay"][1]["/ring"]
    assert torch.equal(stored, ring)
    assert stored.data_ptr() != ring.data_ptr()


def damage(name: str, how: str):
    def apply(path: Path) -> None:
        file = path / name
        if how == "missing":
            file.unlink()
        elif how == "truncated":
            file.write_bytes(file.read_bytes()[:-1])
        elif how == "flipped":
            content = bytearray(file.read_bytes())
            content[content.index(b'"')] ^= 1  # in white space a flip would change nothing
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
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load(broken)
    path, state = checkpoint.load_latest(tmp_path)
    assert path.name == "step_000000000001"
    assert same(STATE, state)
    assert "step_000000000002" in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"[" * 100_000, b"\x80\x04K\x01.", b'"x"'])
@pytest.mark.parametrize("name", ["agent.safetensors", "state.json"])
def test_content_that_its_checksum_confirms_is_still_refused(
    tmp_path: Path, name: str, content: bytes
) -> None:
    path = checkpoint.save(tmp_path, 1, STATE)
    manifest = json.loads((path / "manifest.json").read_text())
    (path / name).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    manifest["files"][name] = {"sha256": digest, "bytes": len(content)}
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load(path)


def test_a_state_that_the_manifest_does_not_list_is_refused(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, 1, STATE)
    manifest = json.loads((path / "manifest.json").read_text())
    del manifest["files"]["state.json"]
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match="does not list"):
        checkpoint.load(path)


def test_a_file_in_a_checkpoint_s_place_is_passed_over(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, 1, STATE)
    (tmp_path / "step_000000000002").write_text("")
    assert checkpoint.load_latest(tmp_path, set_aside=True)[0].name == "step_000000000001"
    checkpoint.save(tmp_path, 3, STATE, keep=1)
    assert names(tmp_path) == ["damaged_step_000000000002", "step_000000000003"]


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
    with pytest.raises(FormatError, match="format 99"):
        checkpoint.load_latest(tmp_path)  # the checkpoint is whole, so no older one takes its place
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
    writer.close()
    with pytest.raises(RuntimeError, match="shutdown"):
        writer.submit(4, state)
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
