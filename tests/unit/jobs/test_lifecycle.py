"""Runs that are opened to be resumed or evaluated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mtrl.errors import ConfigError
from mtrl.jobs.lifecycle import open_run
from mtrl.runs import checkpoint


def test_a_run_of_another_version_is_refused_for_its_format(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("run: {a_key_of_before: 1}\n")
    with pytest.raises(ConfigError, match="a_key_of_before"):
        open_run("train", str(tmp_path))
    saved = checkpoint.save(tmp_path / "checkpoints", 1, {"agent": {}})
    with pytest.raises(ConfigError, match="a_key_of_before"):
        open_run("train", str(tmp_path))
    manifest = json.loads((saved / "manifest.json").read_text())
    (saved / "manifest.json").write_text(json.dumps(manifest | {"format": 3}))
    with pytest.raises(checkpoint.FormatError, match="format 3"):
        open_run("train", str(tmp_path))
