"""The manifest of a sweep: a plan grows, another one is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mtrl.experiments.manifest import SweepError, keep_plan
from mtrl.experiments.plan import make_plan
from mtrl.runs.directory import RunDirectory


def keep(folder: Path, *overrides: str, **options: Any) -> dict[str, Any]:
    chosen = {"methods": "ls,cagrad", "seeds": "0,1", "grid": ["sac.tau=[0.01]"], **options}
    keep_plan(RunDirectory(folder), make_plan("train", ["fake"], overrides, **chosen))
    return json.loads((folder / "manifest.json").read_text())


def test_the_manifest_says_who_planned_what(tmp_path: Path) -> None:
    content = keep(tmp_path)
    assert content["plan"]["seeds"] == [0, 1]
    assert content["plan"]["config"]["env.tasks"] == "fake3"
    assert content["plan"]["jobs"]["tau=0.01-ls-s1"] == ["method=ls", "sac.tau=0.01", "seed=1"]
    (process,) = content["processes"]
    assert {"created", "command", "versions", "git"} <= process.keys()
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"], "no rest of a write"


def test_the_same_plan_changes_nothing(tmp_path: Path) -> None:
    assert keep(tmp_path) == keep(tmp_path)


def test_a_plan_grows(tmp_path: Path) -> None:
    keep(tmp_path)
    content = keep(tmp_path, methods="famo,cagrad,ls", seeds="0..2")
    assert len(content["plan"]["jobs"]) == 9
    assert len(content["processes"]) == 2


@pytest.mark.parametrize(
    ("overrides", "options", "said"),
    [
        (["sac.batch_size=9"], {}, "its `sac.batch_size` is 32, and yours is 9"),
        ([], {"grid": ["sac.tau=[0.02]"]}, r"its grid `sac.tau` is \[0.01\], and yours is \[0.02"),
        ([], {"grid": []}, "its grid `sac.tau` is .*, and yours is not set"),
        ([], {"seeds": "1"}, "it has the seeds 0 besides"),
        ([], {"methods": "ls"}, "it has the methods cagrad besides"),
        (
            ["method_options.radius=0.3"],
            {"methods": "cagrad"},
            "its cagrad option `radius` is not set",
        ),
    ],
)
def test_another_plan_is_refused(
    tmp_path: Path, overrides: list[str], options: dict[str, Any], said: str
) -> None:
    before = keep(tmp_path)
    with pytest.raises(SweepError, match=said):
        keep(tmp_path, *overrides, **options)
    assert json.loads((tmp_path / "manifest.json").read_text()) == before


@pytest.mark.parametrize("content", ["{", "[]", '{"created": 1}'])
def test_a_manifest_of_something_else_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(SweepError, match=r"manifest\.json"):
        keep(tmp_path)
