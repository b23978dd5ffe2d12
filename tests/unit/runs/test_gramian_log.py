"""The conflict recorder: records come back, and a resumed run drops what came after."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from mtrl.runs.gramian_log import GramianLog, read_gramians


def test_records_come_back_and_are_truncated(tmp_path: Path) -> None:
    log = GramianLog(tmp_path, ["a", "b"], parts=["critic", "actor"])
    log.truncate(0)  # nothing there yet
    gramian = torch.tensor([[1.0, -0.5], [-0.5, 2.0]], dtype=torch.float64)
    for updates in (100, 200, 300):
        log.add("critic", updates, 10 * updates, gramian * updates, torch.ones(2), torch.zeros(2))
        log.add("actor", updates, 10 * updates, gramian, None, torch.tensor([0.5, float("nan")]))
    records = read_gramians(tmp_path)
    assert records["updates"].tolist() == [100, 100, 200, 200, 300, 300]
    assert records["part"].tolist() == [0, 1] * 3
    assert np.allclose(records["gramian"][2], gramian * 200)
    assert np.isnan(records["weights"][1]).all()
    assert records["performance"][1][0] == 0.5

    path = tmp_path / "gramians.bin"
    path.write_bytes(path.read_bytes()[:-3])  # torn by a death
    assert len(read_gramians(tmp_path)) == 5
    (tmp_path / "gramians.json").write_text('{"tasks": ["a"')  # torn too
    log.truncate(200)
    assert read_gramians(tmp_path)["updates"].tolist() == [100, 100, 200, 200]
