"""The comparison with a peer, without the peer: a fake one that speaks the protocol."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMALL = ["--width", "8", "--batch", "2", "--updates", "1", "--rounds", "1", "--steps", "50"]
FAKE = """\
import json, os, sys

cores = sys.argv[sys.argv.index("--cores") + 1]
for line in sys.stdin:
    request = json.loads(line)
    if request["do"] == "about":
        answer = {"name": "fake", "commit": "c0ffee", "jax": "0", "cores": cores,
                  "path": os.environ["PYTHONPATH"]}
    else:
        assert request in (
            {"do": "update", "method": "ls", "updates": 1},
            {"do": "update", "method": "pcgrad", "updates": 1},
            {"do": "collect", "steps": 50},
        ), request
        answer = {"cpu": 1.0, "wall": 2.0}
    print(json.dumps(answer), flush=True)
"""


def _run(tmp_path: Path, fake: str | None, *options: str) -> subprocess.CompletedProcess[str]:
    """The script with a program of ours as the peer's Python."""
    where: list[str] = []
    if fake is not None:
        python = tmp_path / "python"
        python.write_text(f"#!{sys.executable}\n{fake}")
        python.chmod(0o755)
        where = ["--peer-python", str(python), "--peer-source", str(tmp_path)]
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "bench_peers"), "--json", *where, *options],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
    )


def _rows(result: dict) -> dict[str, dict]:
    return {row["what"]: row for row in result["comparison"]}


def test_without_a_peer_it_says_how_to_get_one(tmp_path: Path) -> None:
    run = _run(tmp_path, None)

    assert run.returncode == 2
    assert "git clone https://github.com/rainx0r/metaworld-algorithms" in run.stderr
    assert "pip install jax==" in run.stderr


def test_updates_take_turns_with_the_peer(tmp_path: Path) -> None:
    run = _run(tmp_path, FAKE, "--parts", "learner", *SMALL)
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout)

    rows = _rows(result)
    assert rows["update, plain sum, cpu ms"]["metaworld-algorithms"] == 1000
    assert rows["update, PCGrad, wall ms"]["metaworld-algorithms"] == 2000
    for row in rows.values():
        assert row["factor in mtrl's favour"] == pytest.approx(
            row["metaworld-algorithms"] / row["mtrl"]
        )
    assert result["peer"]["commit"] == "c0ffee"
    assert result["peer"]["cores"] == str(min(os.sched_getaffinity(0)))
    assert result["peer"]["path"] == str(tmp_path)  # its source, and not ours
    command = result["machine"]["command"]
    assert command.startswith("scripts/bench_peers --json --peer-python PEER/.venv/bin/python")
    assert str(tmp_path) not in command  # where the peer lies says nothing


@pytest.mark.parametrize(
    ("fake", "finding"),
    [("raise SystemExit(3)", "status 3"), ("print('Loading ...', flush=True)", "Loading ...")],
    ids=["dies", "babbles"],
)
def test_a_peer_that_does_not_answer_is_named(
    fake: str, finding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    from _peer import Peer, PeerError  # type: ignore[import-not-found]

    with (
        Peer([sys.executable, "-c", fake], tmp_path, {0}) as peer,
        pytest.raises(PeerError, match=f"should answer `about`.*{finding}"),
    ):
        peer.ask("about")


@pytest.mark.slow
def test_collection_takes_turns_with_the_peer(tmp_path: Path) -> None:
    run = _run(tmp_path, FAKE, "--parts", "collection", "--turns", "1", *SMALL)
    assert run.returncode == 0, run.stderr

    rows = _rows(json.loads(run.stdout))
    assert rows.keys() == {"env steps/s, 1 worker", "env steps/s, 2 workers"}
    for row in rows.values():
        assert row["metaworld-algorithms"] == 50 * 10 / 2.0
        assert row["factor in mtrl's favour"] == pytest.approx(row["mtrl"] / 250)
