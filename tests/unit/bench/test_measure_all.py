"""`mtrl bench all` asks for benches that exist, and replaces what was measured before."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtrl.bench import command, measure_all
from mtrl.cli import main

ROOT = Path(__file__).parents[3]
PYTHON = """\
#!/usr/bin/env bash
echo "$OMP_NUM_THREADS $@" >>"$CALLS"
echo '{}'
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with the arguments of each fresh process; the page is not made of what they print."""
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    monkeypatch.setattr(measure_all.sys, "executable", str(python))
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.setattr(measure_all, "speed_page", lambda folder: None)
    return tmp_path / "calls"


def test_every_raw_file_is_measured_anew(calls: Path, tmp_path: Path) -> None:
    folder = tmp_path / "speed"
    folder.mkdir()
    committed = {path.name.partition(".")[0] for path in (ROOT / "results/speed").glob("*.json")}
    for name in committed:
        (folder / f"{name}.json").write_text("old")
        (folder / f"{name}.9.json").write_text("old")

    assert main(["bench", "all", str(folder), "--peer", "PEER"]) == 0

    assert all(path.read_text() == "{}\n" for path in folder.glob("*"))
    assert {path.name.partition(".")[0] for path in folder.glob("*.json")} == committed
    assert len(list(folder.glob("learner.*.json"))) == 3
    for line in calls.read_text().splitlines():
        threads, _, _, _, name, *arguments = line.split()
        assert threads == "1"
        assert command.parse(name, arguments)[1], "as JSON"


def test_a_bench_that_fails_ends_the_measurement(
    calls: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "python").write_text("#!/usr/bin/env bash\nexit 7\n")
    assert main(["bench", "all", str(tmp_path / "speed")]) == 1
    assert "`mtrl bench env --floor` should end with status 0. It ended with 7" in (
        capsys.readouterr().err
    )
    assert not list((tmp_path / "speed").iterdir())
