"""The page on speed comes from the committed raw files, and says what was not measured."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from mtrl.report.growth import flops
from mtrl.report.speed import speed_page

RESULTS = Path(__file__).parents[2] / "results"


def test_the_committed_page_is_that_of_the_committed_files(tmp_path: Path) -> None:
    shutil.copytree(RESULTS / "speed", tmp_path / "speed")
    text = speed_page(tmp_path / "speed")
    assert (tmp_path / "speed.md").read_text() == (RESULTS / "speed.md").read_text()
    commands = [json.loads(p.read_text()) for p in (RESULTS / "speed").glob("*.json")]
    assert all(r["machine"]["command"] in text for r in commands)


def test_a_target_is_met_missed_or_not_measured(tmp_path: Path) -> None:
    folder = tmp_path / "speed"
    folder.mkdir()
    machine = {
        "command": "scripts/bench_ray", "date": "2026-11-22T00:00", "processor": "x", "cores": 2,
        "load": 0.5,
    }  # fmt: skip
    chunks = [{"chunk": 50, "overhead %": 3.0}, {"chunk": 200, "overhead %": 1.5}]
    (folder / "ray.json").write_text(json.dumps({"machine": machine, "chunks": chunks}))
    lines = speed_page(folder).splitlines()
    assert "| Ray's overhead at 50 steps, % | <= 4 | 3 | yes |" in lines
    assert "| Ray's overhead at 200 steps, % | <= 1 | 1.5 | **no** |" in lines
    assert "| update on a GPU, PIVRG, ms | <= 0.6 |  | not measured |" in lines


def test_the_model_counts_forward_passes() -> None:
    assert flops(20, 64, 400, 3) / flops(10, 128, 400, 3) < 1.02  # only the one-hot is wider
    assert 3.5 < flops(10, 128, 800, 3) / flops(10, 128, 400, 3) < 4
