"""The README: its Python runs, its commands and presets exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mtrl.cli import main
from mtrl.config import PRESETS, find_file

TEXT = (Path(__file__).parents[2] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


def test_the_balancing_example_runs() -> None:
    (example,) = [code for code in blocks("python") if "build(" in code]
    names: dict = {}
    exec(example, names)
    assert names["direction"].shape == (3,)


@pytest.mark.parametrize("verb", sorted(set(re.findall(r"`mtrl ([a-z-]+)", TEXT))))
def test_every_verb_exists(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([verb, "--help"])
    assert caught.value.code == 0
    assert verb in capsys.readouterr().out


def test_every_preset_is_named_and_every_named_one_exists() -> None:
    named = set(re.findall(r"\| `mt10/([a-z]+)` \|", TEXT))
    assert named == {path.stem for path in PRESETS.glob("mt10/*.yaml")}
    for name in re.findall(r"-c ((?:mt10|method)/[a-z_]+)", TEXT):
        find_file(name)
