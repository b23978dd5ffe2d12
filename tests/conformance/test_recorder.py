"""The recorder of `goldens.json`, without the repositories that it records from."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden_inputs import Case
from record import feeding, runner
from record.repository import Recording, Repository, code_of
from record.stand_ins import StandIns, replaced, shuffle_by
from torch import Tensor

GOLDENS = json.loads((Path(__file__).parent / "goldens.json").read_text())
CASE = Case("random", 3, 2)


@pytest.fixture
def float64() -> Any:
    """The recorder runs in it."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def test_it_records_what_the_goldens_hold() -> None:
    """Same methods, files, settings and inputs, in the same order, from the same commits."""
    listed = [
        runner.label(repository, recording)
        for repository in runner.REPOSITORIES
        for recording in repository.recordings()
    ]
    held = [{k: v for k, v in known.items() if k != "numbers"} for known in GOLDENS["records"]]
    assert listed == held
    assert list(runner.origins().items()) == list(GOLDENS["repositories"].items())


def test_each_file_of_the_recorder_with_a_repository_is_recorded_from() -> None:
    files = Path(runner.__file__).parent.glob("*.py")
    with_one = {file.stem for file in files if "\nREPOSITORY = " in file.read_text()}
    recorded = {known.recordings.__module__ for known in runner.REPOSITORIES}
    assert recorded == {f"record.{name}" for name in with_one}


def published(folder: Path, name: str, code: str) -> Repository:
    """A repository with one commit, whose package `methods` can only be imported hollow."""
    files = {
        "methods/__init__.py": "raise ImportError",
        "methods/method.py": code,
        "setup_x.py": "",
    }
    for file, text in files.items():
        (folder / name / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / name / file).write_text(text)
    git = ["git", "-C", str(folder / name), "-c", "user.name=A", "-c", "user.email=a@b.c"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "All"]):
        subprocess.run([*git, *command], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    return Repository(
        name, "https://x.org/x", commit.stdout.strip(), ("methods",), lambda: iter(()), ("methods",)
    )


def test_code_is_read_from_the_commit_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """Two repositories may use one name. Later changes and other paths are not read."""
    first = published(tmp_path, "first", "WHO = 'first'")
    second = published(tmp_path, "second", "WHO = 'second'")
    (tmp_path / "first/methods/method.py").write_text("WHO = 'changed'")
    path = list(sys.path)
    for repository in (first, second):
        with code_of(repository, tmp_path) as load:
            assert repository.name == load("methods.method").WHO
            assert importlib.util.find_spec("setup_x") is None
        assert not {"methods", "methods.method"} & set(sys.modules)
        assert sys.path == path


def test_a_clone_that_is_missing_is_named_with_its_address(tmp_path: Path) -> None:
    cagrad = runner.REPOSITORIES[7]
    assert cagrad.name == "CAGrad"
    with (
        pytest.raises(SystemExit, match=f"No CAGrad in .*Clone {cagrad.url}"),
        code_of(cagrad, tmp_path),
    ):
        pass


def test_stand_ins_take_any_use_and_only_for_their_packages() -> None:
    """The authors' agents inherit from them, and their files read names of them."""
    assert StandIns().find_spec("torch.nn") is None
    module: Any = importlib.util.module_from_spec(StandIns().find_spec("hydra.utils"))

    class Agent(module.agents.Agent): ...

    assert isinstance(Agent(1, name=2), Agent)
    with pytest.raises(AttributeError, match="__wrapped__"):
        _ = module.agents.__wrapped__


def test_draws_are_replaced_for_a_while_and_follow_the_orders() -> None:
    owner = types.SimpleNamespace(shuffle="before")
    with replaced(owner, "shuffle", shuffle_by(np.array([[2, 0, 1], [1, 2, 0], [0, 2, 1]]))):
        rows, some = ["a", "b", "c"], [0, 1]
        owner.shuffle(rows)
        assert rows == ["c", "a", "b"]
        owner.shuffle(rows)
        assert rows == ["b", "c", "a"]
        owner.shuffle(some)
        assert some == [0, 1]
    assert owner.shuffle == "before"


class Toy:
    """A method with the interface of the lineage: it weighs task i with `scale * (i + 1)`."""

    def __init__(self, tasks: int, device: str, scale: float) -> None:
        self.weights = scale * np.arange(1.0, tasks + 1)

    def get_weighted_loss(
        self, losses: Tensor, shared_parameters: Any
    ) -> tuple[Tensor, dict[str, Any]]:
        return feeding.tensor(self.weights) @ losses, {"weights": self.weights}

    def backward(self, losses: Tensor, shared_parameters: Any) -> tuple[Tensor, dict[str, Any]]:
        total, extra = self.get_weighted_loss(losses, shared_parameters)
        total.backward()
        return total, extra


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", ["loss_weights", "overwritten", "overwritten_in_order", "weighed"])
def test_a_method_is_made_with_the_settings_and_fed_with_the_case(name: str) -> None:
    """Weights and directions come out for each step, with 12 digits."""
    recording = Recording(
        "toy", "a/toy.py", "Toy", {"scale": 2.0}, CASE, feeding.fed(getattr(feeding, name))
    )
    modules = {"a.toy": types.SimpleNamespace(Toy=Toy)}
    load: Any = modules.__getitem__
    numbers = runner.plain(recording.compute(load, recording))["numbers"]
    assert numbers["weights"] == [[2.0, 4.0, 6.0]] * CASE.steps
    if "overwritten" in name:
        expected = np.array([2.0, 4.0, 6.0]) @ CASE.jacobians()
        np.testing.assert_allclose(numbers["directions"], expected, rtol=1e-11)
        assert numbers["directions"][0][0] == float(f"{expected[0, 0]:.12g}")


def test_numbers_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="Expected finite weights"):
        runner.plain({"weights": [torch.tensor([1.0, float("nan")])]})
