"""Options are documented; presets can be trained as they are, and with every method."""

from __future__ import annotations

import dataclasses
import typing
from pathlib import Path

import pytest

from mtrl.balancing import METHODS, method_options
from mtrl.config import flatten, resolve
from mtrl.config_files import PRESETS
from mtrl.jobs import config as job
from mtrl.jobs.grid import expand, grid_points
from mtrl.jobs.rl_checks import check_training
from mtrl.supervised.problem import Recipe

SUPERVISED = sorted(PRESETS.glob("supervised/**/*.yaml"))


@pytest.mark.parametrize("preset", SUPERVISED, ids=lambda p: p.stem)
def test_every_supervised_preset_can_be_expanded(preset: Path) -> None:
    resolved = resolve(job.SupervisedConfig, [preset])
    points = grid_points(dict(flatten(resolved.config.grid)))
    if preset.stem == "multimnist":  # its files are not here
        with pytest.raises(ValueError, match="data_root"):
            expand(resolved.config)
        return
    for values in points:
        changes = [f"{key}={value}" for key, value in values.items()]
        assert expand(resolve(job.SupervisedConfig, [preset], changes).config)


@pytest.mark.parametrize("preset", sorted(PRESETS.glob("mt10/*.yaml")), ids=lambda p: p.stem)
@pytest.mark.parametrize("method", [name for name in METHODS if name != "fixed"])
def test_every_method_lies_over_every_preset(preset: Path, method: str) -> None:
    check_training(resolve(job.TrainConfig, [preset], [f"method={method}"]).config)


@pytest.mark.parametrize("preset", sorted(PRESETS.glob("method/*.yaml")), ids=lambda p: p.stem)
def test_a_method_s_preset_says_more_than_its_name(preset: Path) -> None:
    quick = PRESETS / "mt10" / "quick.yaml"
    config = resolve(job.TrainConfig, [quick, preset]).config
    check_training(config)
    assert config.method == preset.stem
    defaults = {key: option.default for key, option in method_options(config.method).items()}
    assert not config.method_options.items() <= defaults.items(), "`method=NAME` says the same"


def test_every_option_is_documented() -> None:
    sections = [kind for kind in vars(job).values() if dataclasses.is_dataclass(kind)]
    assert len(sections) > 12
    for kind in sections:
        # What a recipe changes is documented in the recipe.
        text = str(Recipe.__doc__ if kind is job.RecipeConfig else kind.__doc__)
        for name, of in typing.get_type_hints(kind).items():
            assert dataclasses.is_dataclass(of) or name in text or name == "example", (kind, name)
