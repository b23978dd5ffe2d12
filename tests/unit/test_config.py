"""Configurations: layers, types, ranges, suggestions, origins."""

from __future__ import annotations

from pathlib import Path

import pytest

from mtrl.config import flatten, resolve
from mtrl.config_files import find_file
from mtrl.errors import ConfigError
from mtrl.jobs.config import TrainConfig

BASE = "networks: {actor: [8], critic: [8]}\n"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base.yaml"
    path.write_text(BASE + "sac: {batch_size: 7, critic_lr: 1e-4}\n")
    return path


def test_layers_win_in_order_and_tell_their_origin(base: Path, tmp_path: Path) -> None:
    child = tmp_path / "child.yaml"
    child.write_text("extends: base.yaml\nsac: {batch_size: 9}\n")
    resolved = resolve(TrainConfig, [child], ["seed=3"])
    assert resolved.config.sac.batch_size == 9
    assert resolved.config.sac.critic_lr == 1e-4
    assert resolved.config.seed == 3
    assert resolved.origins["sac.batch_size"] == str(child)
    assert resolved.origins["sac.critic_lr"] == str(base)
    assert resolved.origins["seed"] == "command line"
    assert resolved.origins["sac.tau"] == "default"


def test_resolved_yaml_loads_to_the_same_configuration(base: Path, tmp_path: Path) -> None:
    resolved = resolve(TrainConfig, [base], ["method=pivrg", "method_options.bound=1.5"])
    written = tmp_path / "resolved.yaml"
    written.write_text(resolved.to_yaml())
    assert resolve(TrainConfig, [written]).config == resolved.config


def test_numbers_are_numbers(base: Path) -> None:
    config = resolve(
        TrainConfig, [base], ["sac.critic_lr=1e-4", "schedule.total_env_steps=2e6"]
    ).config
    assert config.sac.critic_lr == 1e-4
    assert config.schedule.total_env_steps == 2_000_000
    assert isinstance(config.schedule.total_env_steps, int)


@pytest.mark.parametrize(
    ("override", "parts"),
    [
        ("sac.batchsize=3", ["sac.batchsize", "sac.batch_size"]),
        ("batch_size=3", ["batch_size", "sac.batch_size"]),
        ("sac=3", ["section", "batch_size"]),
        ("sac.batch_size=-1", ["sac.batch_size", "-1", "greater"]),
        ("sac.batch_size=many", ["sac.batch_size", "integer"]),
        ("seed=1.5", ["seed", "integer"]),
        ("seed=yes", ["seed", "integer"]),
        ("sac.tau=2", ["sac.tau", "less"]),
        ("collect.num_workers=0", ["collect.num_workers", "greater"]),
        ("collect.num_workers=-2", ["collect.num_workers", "greater"]),
        ("schedule.mode=fast", ["schedule.mode", "sync"]),
        ("networks.actor=[]", ["networks.actor"]),
        ("nothing", ["key=value"]),
        ("sac.tau=[1", ["YAML"]),
    ],
)
def test_a_wrong_value_is_refused_with_help(base: Path, override: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(TrainConfig, [base], [override])
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("- 1\n- 2\n", "key: value"),
        ("seed: 1\nseed: 2\n", "duplicate"),
        ("extends: nowhere.yaml\n", "not beside it"),
        ("extends: self.yaml\n", "circle"),
        (b"\xff\xfe\x00", "Cannot read"),
        ("a: *b\n", "YAML"),
    ],
)
def test_a_wrong_file_is_refused_with_help(tmp_path: Path, text: str | bytes, part: str) -> None:
    path = tmp_path / "self.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=part):
        resolve(TrainConfig, [path])


def test_an_empty_file_changes_nothing(base: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.yaml"
    empty.write_text("")
    assert resolve(TrainConfig, [base, empty]).config == resolve(TrainConfig, [base]).config


def test_another_method_drops_the_options_of_the_first(base: Path) -> None:
    first = ["method=pivrg", "method_options.bound=1.5"]
    assert resolve(TrainConfig, [base], first).config.method_options == {"bound": 1.5}
    assert resolve(TrainConfig, [base], [*first, "method=sam_gs"]).config.method_options == {}
    again = [*first, "method=pivrg"]
    assert resolve(TrainConfig, [base], again).config.method_options == {"bound": 1.5}


def test_presets_are_found_by_name_and_suggested() -> None:
    assert find_file("mt10/quick").samefile(find_file("configs/mt10/quick.yaml"))
    with pytest.raises(ConfigError, match="mt10/quick"):
        find_file("mt10/quik")
    with pytest.raises(ConfigError, match=r"Presets: .*method/famo, .*mt10/quick"):
        find_file("nothing-like-it")
    with pytest.raises(ConfigError, match="write method=pivrg"):
        find_file("method/pivrg")
    with pytest.raises(ConfigError, match=r"write method=sam_g.* Did you mean 'method/sam_gs'"):
        find_file("configs/method/sam_g.yaml")


def test_nothing_given_names_what_is_missing() -> None:
    with pytest.raises(ConfigError, match="networks"):
        resolve(TrainConfig)


def test_flatten_keeps_order() -> None:
    assert flatten({"a": {"b": 1, "c": {}}, "d": [2]}) == [("a.b", 1), ("a.c", {}), ("d", [2])]
