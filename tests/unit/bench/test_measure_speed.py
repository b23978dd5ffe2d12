"""`scripts/measure_speed` asks for benchmarks that exist and replaces what was measured before."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
PYTHON = """\
#!/usr/bin/env bash
echo "$@" >>"$CALLS"
case "$1" in *bench_*) echo '{}' ;; esac
"""
SETUP = """\
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
ensure_installed() { :; }
"""


def test_every_raw_file_is_measured_anew(tmp_path: Path) -> None:
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    shutil.copy(ROOT / "scripts" / "measure_speed", scripts)
    (scripts / "_setup.sh").write_text(SETUP)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON)
    python.chmod(0o755)
    folder = tmp_path / "results" / "speed"
    folder.mkdir(parents=True)
    committed = {path.name.partition(".")[0] for path in (ROOT / "results/speed").glob("*.json")}
    for name in committed:
        (folder / f"{name}.json").write_text("old")
        (folder / f"{name}.9.json").write_text("old")

    calls = tmp_path / "calls"
    subprocess.run(
        ["bash", str(tmp_path / "scripts" / "measure_speed")],
        env={**os.environ, "CALLS": str(calls), "PEER": "/somewhere"},
        check=True,
        capture_output=True,
    )

    assert all(path.read_text() == "{}\n" for path in folder.glob("*"))
    assert {path.name.partition(".")[0] for path in folder.glob("*.json")} == committed
    assert len(list(folder.glob("learner.*.json"))) == 3
    *benchmarks, page = calls.read_text().splitlines()
    assert page == "scripts/results speed results/speed"
    assert all((ROOT / line.split()[0]).is_file() for line in benchmarks)
