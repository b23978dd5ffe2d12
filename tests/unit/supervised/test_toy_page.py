"""The results page of toys: made again from committed files, with where they come from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mtrl.cli import main
from mtrl.runs.directory import RunDirectory, RunDirectoryError
from mtrl.runs.metric_log import read_jsonl
from mtrl.supervised.problems.toy.toy_page import add_toys, thin, toy_page

ROOT = Path(__file__).parents[3]


def descents(base: Path, *arguments: str) -> list[RunDirectory]:
    command = [
        "supervised",
        "-c",
        "supervised/toy",
        "run.diagnostics_interval_updates=2",
        *arguments,
    ]
    assert main([*command, f"run.directory={base}"]) == 0
    return [RunDirectory(path.parent) for path in sorted(base.glob("*/config.yaml"))]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[RunDirectory]:
    base = tmp_path_factory.mktemp("runs")
    steps = ["recipe.epochs=40", "recipe.learning_rate=0.2"]
    descents(base / "a", "method=ls", *steps)
    famo = ["method=famo", "method_options.weight_decay=0.0"]
    descents(base / "b", *famo, *steps)
    found = [RunDirectory(path.parent) for path in sorted(base.glob("*/*/config.yaml"))]
    for run in found:  # the tests' own command line says nothing
        manifest = json.loads((run.path / "manifest.json").read_text())
        command = ["/some/where/bin/mtrl", "supervised", "method=x", f"run.directory={base}"]
        run.write_json("manifest.json", manifest | {"command": command})
    return found


def test_a_page_is_made_again_from_its_files(runs: list[RunDirectory], tmp_path: Path) -> None:
    folder = tmp_path / "toy"
    (file,) = add_toys(folder, runs)
    assert file.name == "one_optimum-0.1-5starts.json"
    before = file.read_bytes()
    assert add_toys(folder, runs[:1]) == [file]  # twice changes nothing
    assert file.read_bytes() == before
    content = json.loads(before)
    assert [row["method"] for row in content["runs"]] == ["famo weight_decay=0", "ls"]
    assert (content["steps"], content["betas"], content["max_grad_norm"]) == (40, [0.9, 0.999], 1.0)
    facts = content["manifest"]
    assert {"created", "command", "versions", "git", "python"} <= set(facts)
    assert facts["git"] is None or set(facts["git"]) == {"commit", "dirty"}
    assert facts["command"] == "mtrl supervised method=x"
    (ls,) = (run for run in runs if "-ls-" in run.path.name)
    ends = json.loads((ls.path / "end_points.json").read_text())
    row = content["runs"][1]
    assert row["ends"] == [end["theta"] for end in ends]

    text = toy_page(folder)
    assert text.startswith("# toy\n")
    for x, y in row["ends"]:
        assert f"({x:.2f}, {y:.2f})" in text
    assert facts["created"][:10] in text
    picture = tmp_path / "toy_one_optimum-0.1-5starts.png"
    assert 10_000 < picture.stat().st_size < 400_000
    drawn, written = picture.read_bytes(), folder.with_suffix(".md").read_bytes()
    picture.unlink()
    assert main(["results", "page", str(folder)]) == 0
    assert picture.read_bytes() == drawn
    assert folder.with_suffix(".md").read_bytes() == written


def test_descents_by_another_recipe_do_not_mix(runs: list[RunDirectory], tmp_path: Path) -> None:
    folder = tmp_path / "toy"
    add_toys(folder, runs)
    other = descents(tmp_path / "fast", "method=ls", "recipe.epochs=3")
    with pytest.raises(RunDirectoryError, match="by another recipe"):
        add_toys(folder, other)


def test_thinned_paths_keep_their_ends_and_their_shape(runs: list[RunDirectory]) -> None:
    records = read_jsonl(runs[0].path / "metrics.jsonl")
    path = np.array([(r["start0/x"], r["start0/y"]) for r in records])
    kept = thin(path, 0.5)
    assert len(kept) < len(path)
    assert kept[0].tolist() == path[0].tolist()
    assert kept[-1].tolist() == path[-1].tolist()
    gaps = np.linalg.norm(path[:, None] - kept[None], axis=-1).min(1)
    assert gaps.max() < 0.5
    assert (np.linalg.norm(np.diff(kept[:-1], axis=0), axis=-1) >= 0.5).all()


def test_committed_files_hold_what_the_pages_say() -> None:
    text = (ROOT / "results" / "toy.md").read_text()
    files = sorted((ROOT / "results" / "toy").glob("*.json"))
    assert files
    for file in files:
        content = json.loads(file.read_text())
        assert content["learning_rate"] == 1e-3
        for row in content["runs"]:
            git = (content["manifest"] | row["manifest"])["git"]
            assert git["dirty"] is False
            assert git["commit"][:9] in text
            cells = " | ".join(f"({x:.2f}, {y:.2f})" for x, y in row["ends"])
            assert f"| {row['method']} | {cells} |" in text
            for path, end in zip(row["paths"], row["ends"], strict=True):
                assert path[-1] == pytest.approx(end, abs=1e-3)
