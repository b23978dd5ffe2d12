"""Goals: what they depend on and what not, and a cache that cannot hold wrong ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mtrl.envs import EnvConfig, TaskSet, load_tasks, metaworld

GOALS = 2
TASK = "drawer-close-v3"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("goals")


@pytest.fixture(scope="module")
def mt10(shared: Path) -> TaskSet:
    return load_tasks(EnvConfig(tasks="mt10", num_goals=GOALS), cache=shared)


def goals(tasks: str | list[str], cache: Path, **options: object) -> list[list[list[float]]]:
    config = EnvConfig(tasks=tasks, **({"num_goals": GOALS} | options))  # type: ignore[arg-type]
    return [array.tolist() for array in load_tasks(config, cache=cache).goals]


# ------------------------------------------------------------------------------- what they depend on


@pytest.mark.parametrize("tasks", [["reach-v3"], ["window-close-v3", "reach-v3"]])
def test_a_task_has_the_same_goals_alone_in_a_list_and_in_mt10(
    mt10: TaskSet, tmp_path: Path, tasks: list[str]
) -> None:
    expected = [mt10.goals[mt10.names.index(name)].tolist() for name in tasks]
    assert goals(tasks, tmp_path) == expected


def test_tasks_have_goals_of_their_own(mt10: TaskSet) -> None:
    assert len({tuple(array.ravel()) for array in mt10.goals}) == 10
    assert [len(np.unique(array, axis=0)) for array in mt10.goals] == [GOALS] * 10


def test_another_benchmark_seed_gives_other_goals(tmp_path: Path) -> None:
    by_seed = {seed: goals([TASK], tmp_path, benchmark_seed=seed) for seed in (0, 1, 42)}
    assert by_seed[42] == goals([TASK], tmp_path), "the default"
    assert len({json.dumps(values) for values in by_seed.values()}) == 3


def test_fake_goals_depend_on_seed_and_name_alone(tmp_path: Path) -> None:
    three = goals("fake3", tmp_path)
    assert goals("fake2", tmp_path) == three[:2]
    assert goals("fake3", tmp_path, benchmark_seed=1) != three
    assert three[0] != three[1]


def test_the_generator_makes_the_goals_of_its_version(mt10: TaskSet) -> None:
    """Goals of earlier runs stay what they were.

    Where a change is meant, raise `GENERATOR_VERSION` and record these anew: caches and results of
    earlier versions are then told apart.
    """
    assert metaworld.GENERATOR_VERSION == 1
    recorded = {  # of the first goal: where the object starts, or where its frame stands
        "reach-v3": [-0.04149662821234173, 0.668577270857824, 0.02],
        "door-open-v3": [0.046228865325768566, 0.8945600387162937, 0.15],
        "peg-insert-side-v3": [0.11772049487828969, 0.6911879202591582, 0.02],
    }
    for name, first in recorded.items():
        assert mt10.goals[mt10.names.index(name)][0, :3].tolist() == pytest.approx(first, abs=1e-12)


# -------------------------------------------------------------------------------------------- cache


def only_file(cache: Path) -> Path:
    (path,) = cache.iterdir()
    return path


def test_goals_are_read_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = goals([TASK], tmp_path)
    monkeypatch.setattr(metaworld, "generate_goals", None)
    assert goals([TASK], tmp_path) == first


@pytest.mark.parametrize("option", ["num_goals", "benchmark_seed", "reward_version"])
def test_other_options_are_other_files(tmp_path: Path, option: str) -> None:
    values = {"num_goals": 3, "benchmark_seed": 7, "reward_version": "v1"}
    goals([TASK], tmp_path)
    goals([TASK], tmp_path, **{option: values[option]})
    assert len(list(tmp_path.iterdir())) == 2


def test_another_generator_does_not_read_what_the_last_one_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = goals([TASK], tmp_path)
    path = only_file(tmp_path)
    path.write_text(path.read_text().replace(str(first[0][0][0]), "9.0"))
    assert goals([TASK], tmp_path)[0][0][0] == 9.0, "the file is read"
    monkeypatch.setattr(metaworld, "GENERATOR_VERSION", metaworld.GENERATOR_VERSION + 1)
    assert goals([TASK], tmp_path) == first


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(lambda stored: stored | {"goals": stored["goals"][:1]}, id="too few"),
        pytest.param(lambda stored: stored | {"goals": stored["goals"][0]}, id="flat"),
        pytest.param(lambda stored: stored | {"goals": [[1.0], [1.0, 2.0]]}, id="ragged"),
        pytest.param(lambda stored: stored | {"goals": [["a"] * 3] * 2}, id="no numbers"),
        pytest.param(lambda stored: stored | {"goals": [[float("nan")] * 3] * 2}, id="NaN"),
        pytest.param(lambda stored: stored | {"key": ["push-v3"]}, id="other key"),
        pytest.param(lambda stored: {"key": stored["key"]}, id="no goals"),
        pytest.param(lambda stored: [1, 2], id="a list"),
        pytest.param(lambda stored: "text", id="a text"),
    ],
)
def test_a_wrong_file_is_replaced(tmp_path: Path, content) -> None:
    first = goals([TASK], tmp_path)
    path = only_file(tmp_path)
    whole = path.read_text()
    path.write_text(json.dumps(content(json.loads(whole))))
    assert goals([TASK], tmp_path) == first
    assert path.read_text() == whole


def test_a_torn_file_is_replaced(tmp_path: Path) -> None:
    first = goals([TASK], tmp_path)
    path = only_file(tmp_path)
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 2])
    assert goals([TASK], tmp_path) == first
    assert path.read_text() == whole
