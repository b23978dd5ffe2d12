"""The metric log: averages, names, NaN, and going on after a checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mtrl.runs.metric_log import MetricLog, read_jsonl

FILES = ("metrics.jsonl", "timing.jsonl")
COUNTERS = {"env_steps": 10, "updates": 1, "episodes": 0}


def test_averages_and_names(tmp_path: Path) -> None:
    log = MetricLog(tmp_path, ["a", "b"], tensorboard=False)
    log.add({"x": torch.tensor(1.0), "v": torch.tensor([1.0, 2.0])})
    log.add({"x": torch.tensor(3.0), "v": torch.tensor([3.0, 4.0])})
    means = log.means()
    assert means == {"x": 2.0, "v": [2.0, 3.0]}
    assert log.means() == {}
    log.write(COUNTERS, {**means, "charts/{task}_success_rate": [0.5, float("nan")]})
    log.close()
    (record,) = read_jsonl(tmp_path / "metrics.jsonl")
    assert record == {
        **COUNTERS, "x": 2.0, "v/a": 2.0, "v/b": 3.0,
        "charts/a_success_rate": 0.5, "charts/b_success_rate": None,
    }


def write_both(log: MetricLog, x: int) -> None:
    log.write(COUNTERS, {"x": x})
    log.write_timing(COUNTERS, {"x": x})


def resume(folder: Path, state: dict) -> None:
    log = MetricLog(folder, [], tensorboard=False)
    log.load_state_dict(state)
    write_both(log, 9)
    log.close()


def test_what_was_written_after_the_checkpoint_is_dropped(tmp_path: Path) -> None:
    log = MetricLog(tmp_path, [], tensorboard=False)
    write_both(log, 1)
    state = log.state_dict()
    write_both(log, 2)
    log.close()
    for name in FILES:
        with (tmp_path / name).open("a") as file:
            file.write('{"x": 3, "to')  # the death of the process tore it
    resume(tmp_path, state)
    for name in FILES:
        assert [r["x"] for r in read_jsonl(tmp_path / name)] == [1, 9]


def test_a_log_that_lost_its_end_is_not_lengthened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = MetricLog(tmp_path, [], tensorboard=False)
    for x in (1, 2, 3):
        write_both(log, x)
    state = log.state_dict()
    log.close()
    for name in FILES:  # a power loss took the last record and a half
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
    resume(tmp_path, state)
    for name in FILES:
        assert [r["x"] for r in read_jsonl(tmp_path / name)] == [1, 9]
        assert b"\0" not in (tmp_path / name).read_bytes()
    assert capsys.readouterr().err.count("the last records before it are lost") == 2


def test_a_damaged_line_never_hides_later_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "metrics.jsonl"
    lines = [b'{"x": 1}', b'{"x": 2, "to{"x": 3}', b"\xff\xfe", b"4", b"\0\0\0" + b'{"x": 5}', b'{"x": 6']
    path.write_bytes(b"\n".join(lines))
    assert read_jsonl(path) == [{"x": 1}, {"x": 5}]
    assert "3 of 5 lines are damaged" in capsys.readouterr().err
    path.write_bytes(b'{"x": 1}\n{"x": 6')  # a line in the making is no damage
    assert read_jsonl(path) == [{"x": 1}]
    assert capsys.readouterr().err == ""
    assert read_jsonl(tmp_path / "nothing.jsonl") == []


def test_tensorboard_gets_scalars(tmp_path: Path) -> None:
    log = MetricLog(tmp_path, ["a"])
    log.write(COUNTERS, {"losses/critic": [0.5]})
    log.close()
    assert list(tmp_path.glob("events.out.tfevents.*"))
