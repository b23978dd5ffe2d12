"""The README: its Python runs, its commands and presets exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mtrl.balancing import METHODS
from mtrl.cli import main
from mtrl.config_files import PRESETS, find_file
from tests import method_table

TEXT = (Path(__file__).parents[2] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


def test_the_policy_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it stands, in a folder with the run that it names: here one of its task alone."""
    (example,) = [code for code in blocks("python") if "load_policy(" in code]
    (run,) = re.findall(r'load_policy\("([^"]+)"\)', example)
    (task,) = re.findall(r'make\("([^"]+)"', example)
    monkeypatch.chdir(tmp_path)
    options = [
        f"env.tasks=[{task}]", "env.num_goals=2", "collect.collector=local", "schedule.mode=sync",
        "schedule.total_env_steps=0", "evaluation.final=false", "networks.actor=[8]",
        "networks.critic=[8]", "run.tensorboard=false", "run.directory=made",
    ]  # fmt: skip
    assert main(["train", "-c", "mt10/quick", *options]) == 0
    (made,) = (tmp_path / "made").iterdir()
    (tmp_path / run).parent.mkdir()
    made.rename(run)
    names: dict = {}
    exec(example, names)
    assert names["obs"].shape == (39,)
    assert {"success", "diverged"} <= names["info"].keys()
    assert names["policy"].tasks == [task]


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
    for name in re.findall(r"-c ((?:mt10|method|supervised)/[a-z_/]+)", TEXT):
        find_file(name)


def test_the_package_s_table_says_what_the_classes_say() -> None:
    page = method_table.README.read_text(encoding="utf-8")
    assert page == method_table.with_table(page), "Run `python -m tests.method_table`."


def test_mtrl_methods_prints_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods"]) == 0
    said = capsys.readouterr().out
    for method in METHODS.values():
        for fact in (method.paper, method.scale, method.checked_against, method.differs):
            assert fact in said


@pytest.fixture
def wine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (example,) = [code for code in blocks("python") if "class Wine" in code]
    assert len(example.splitlines()) <= 30
    (config,) = [text for text in blocks("yaml") if "wine.py" in text]
    (tmp_path / "wine.py").write_text(example)
    (tmp_path / "wine.yaml").write_text(config)
    monkeypatch.chdir(tmp_path)


def test_the_problem_example_runs(wine: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["supervised", "-c", "wine.yaml", "method=nash_mtl"]) == 0
    said = capsys.readouterr().out
    accuracy = float(said.split("accuracy")[1].split()[0])
    assert accuracy > 0.8, "it learns to tell three cultivars apart"


def test_the_number_of_methods_is_that_of_the_package() -> None:
    assert re.findall(r"(\d+) methods, among them", TEXT) == [str(len(METHODS))]


def test_the_table_on_speed_is_that_of_the_results() -> None:
    page = (Path(__file__).parents[2] / "results" / "speed.md").read_text()
    (table,) = re.findall(r"## In short\n\n(.*?)\n\n", page, flags=re.DOTALL)
    assert table in TEXT, "Copy the table `In short` of results/speed.md into the README."


def test_the_table_on_digits_is_that_of_the_results() -> None:
    page = (Path(__file__).parents[2] / "results" / "digits.md").read_text()
    columns = {"digits-CL_RR": (3, 4, 5), "digits-CL_CR": (5,)}  # the last three, and Delta-m
    (table,) = re.findall(r"percent behind.*?\n\n(\|.*?)\n\n", TEXT, flags=re.DOTALL)
    rows = [cells(line) for line in table.splitlines()[2:]]
    assert len(rows) >= 8
    for name, *numbers in rows:
        expected = []
        for part, chosen in columns.items():
            text = page.split(f"## {part}\n")[1].split("\n## ")[0]
            own = next(cells(row) for row in text.splitlines() if row.startswith(f"| {name} |"))
            expected += [own[column] for column in chosen]
        assert numbers == expected, name


def cells(line: str) -> list[str]:
    """Of a row of a table, without marks."""
    return [cell.strip(" *`") for cell in line.strip("|").split("|")]


def test_each_promise_about_faults_names_a_test_that_exists() -> None:
    section = TEXT.split("## What a fault costs")[1].split("\n## ")[0]
    named = set(re.findall(r"`(test_\w+)`", section))
    assert len(named) > 10
    tests = Path(__file__).parents[1].rglob("test_*.py")
    written = "\n".join(path.read_text() for path in tests)
    assert {name for name in named if f"def {name}(" not in written} == set()
