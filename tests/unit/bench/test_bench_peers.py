"""The comparison with a peer, without the peer: a fake one that speaks the protocol."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from mtrl.bench.peers.peer_process import Peer, PeerError
from mtrl.cli import main

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


@pytest.fixture
def peer(tmp_path: Path) -> Path:
    """A checkout whose Python is a program of ours."""
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f"#!{sys.executable}\n{FAKE}")
    python.chmod(0o755)
    return tmp_path


def _rows(result: dict) -> dict[str, dict]:
    return {row["what"]: row for row in result["comparison"]}


def test_without_a_peer_it_says_how_to_get_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "peers"]) == 2
    said = capsys.readouterr().err
    assert "git clone https://github.com/rainx0r/metaworld-algorithms" in said
    assert "pip install jax==" in said


@pytest.mark.parametrize(
    ("options", "finding"),
    [(["--parts", "learner,games"], "games"), (["--steps", "30"], "multiple of 50. Found 30")],
)
def test_options_without_meaning_are_refused(
    options: list[str], finding: str, peer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "peers", "--peer", str(peer), *options]) == 2
    assert finding in capsys.readouterr().err


def test_updates_take_turns_with_the_peer(peer: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cores = os.sched_getaffinity(0)
    options = ["--parts", "learner", *SMALL]
    assert main(["bench", "peers", "--json", "--peer", str(peer), *options]) == 0
    assert os.sched_getaffinity(0) == cores
    result = json.loads(capsys.readouterr().out)

    rows = _rows(result)
    assert rows["update, plain sum, cpu ms"]["metaworld-algorithms"] == 1000
    assert rows["update, PCGrad, wall ms"]["metaworld-algorithms"] == 2000
    for row in rows.values():
        assert row["factor in mtrl's favour"] == pytest.approx(
            row["metaworld-algorithms"] / row["mtrl"]
        )
    assert result["peer"]["commit"] == "c0ffee"
    assert result["peer"]["cores"] == str(min(os.sched_getaffinity(0)))
    assert result["peer"]["path"] == str(peer)  # its source, and not ours
    # Where the peer lies says nothing.
    assert result["machine"]["command"].startswith("mtrl bench peers --json --peer PEER --parts")
    assert result["options"]["peer"] == "PEER"


@pytest.mark.parametrize(
    ("fake", "finding"),
    [("raise SystemExit(3)", "status 3"), ("print('Loading ...', flush=True)", "Loading ...")],
    ids=["dies", "babbles"],
)
def test_a_peer_that_does_not_answer_is_named(fake: str, finding: str, tmp_path: Path) -> None:
    with (
        Peer([sys.executable, "-c", fake], tmp_path, {0}) as peer,
        pytest.raises(PeerError, match=f"should answer `about`.*{finding}"),
    ):
        peer.ask("about")


@pytest.mark.slow
def test_collection_takes_turns_with_the_peer(
    peer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--peer", str(peer), "--parts", "collection", "--turns", "1", *SMALL]
    assert main(["bench", "peers", "--json", *options]) == 0
    rows = _rows(json.loads(capsys.readouterr().out))
    assert rows.keys() == {"env steps/s, 1 worker", "env steps/s, 2 workers"}
    for row in rows.values():
        assert row["metaworld-algorithms"] == 50 * 10 / 2.0
        assert row["factor in mtrl's favour"] == pytest.approx(row["mtrl"] / 250)
