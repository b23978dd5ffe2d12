"""The plan of a sweep: every grid point, method and seed is a job, checked before the first one starts.

The design is paired. Jobs of one seed have the same goals, initial weights and warm-up data, because a
run draws each of them from its seed alone. Their configurations differ in the method and in the keys of
the grid, and in nothing else.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mtrl.config import Resolved, flatten
from mtrl.config_files import parse_value
from mtrl.errors import ConfigError, MtrlError
from mtrl.experiments.job_needs import Needs, examine
from mtrl.jobs.compose import compose
from mtrl.jobs.config import ALL

_OWN = {"method": "--methods", "seed": "--seeds"}  # keys that the sweep sets
_LABEL_LENGTH = 60  # characters


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Attributes:
        name: short and unique: grid point, method, seed.
        overrides: `key=value`, to be laid over the files of the plan.
        config: that results from them.
        needs: see :class:`Needs`.
    """

    name: str
    overrides: list[str]
    config: Any
    needs: Needs


@dataclass(frozen=True)
class Plan:
    """The jobs of a sweep.

    Attributes:
        verb: `train` or `supervised`.
        files: config files of all jobs.
        methods: names, in the order of the command.
        seeds: in the order of the command.
        grid: key -> values.
        jobs: all methods and grid points of the first seed, then those of the next one.
    """

    verb: str
    files: list[str]
    methods: list[str]
    seeds: list[int]
    grid: dict[str, Any]
    jobs: list[Job]


def make_plan(
    verb: str,
    files: Sequence[str],
    overrides: Sequence[str],
    *,
    methods: str,
    seeds: str,
    grid: Sequence[str] = (),
) -> Plan:
    """Plan a sweep and check every job.

    Args:
        verb: `train` or `supervised`.
        files: config files or presets.
        overrides: `key=value` of every job.
        methods: names separated by commas, or `all`.
        seeds: `0..4`, or `0,3,7`.
        grid: `key=[value, ...]`; every combination is a grid point.

    Raises:
        ConfigError: the arguments are wrong, or a job's configuration is; the message names the job.
        ResourceError: this machine cannot run a job.
    """
    axes = parse_grid(grid)
    for key in (*(word.partition("=")[0] for word in overrides), *axes):
        if key in _OWN:
            raise ConfigError(f"A sweep sets `{key}` itself. Use `{_OWN[key]}` and drop `{key}`.")
    chosen = parse_methods(methods)
    if chosen == [ALL]:
        from mtrl.jobs.checks import all_methods

        chosen = all_methods(compose(verb, files, overrides).config)
    numbers = parse_seeds(seeds)
    arms = []
    for label, changes in _points(axes):
        for method in chosen:
            # The method comes first: options in the overrides belong to it.
            words = [f"method={method}", *overrides, *changes]
            name = "-".join(filter(None, [label, _safe(method)]))
            arms.append((name, words, *_checked(f"{name}-s{numbers[0]}", verb, files, words)))
    jobs = [
        Job(
            f"{name}-s{seed}",
            [*words, f"seed={seed}"],
            dataclasses.replace(resolved.config, seed=seed),
            needs,
        )
        for seed in numbers
        for name, words, resolved, needs in arms
    ]
    return Plan(verb, list(files), chosen, numbers, axes, jobs)


def parse_methods(text: str) -> list[str]:
    """`ls,pivrg` as a list.

    Raises:
        ConfigError: a name is empty or occurs twice.
    """
    return _distinct("--methods", text, [name.strip() for name in text.split(",")])


def parse_seeds(text: str) -> list[int]:
    """`0..4` (both ends included), `0,3,7` or a mixture as a list.

    Raises:
        ConfigError: it reads otherwise, or a seed occurs twice.
    """
    seeds: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\d+)\s*(?:\.\.\s*(\d+)\s*)?", part)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, -1)
        if last < first:
            raise ConfigError(
                f"`--seeds` should read 0..4 (from the smaller to the larger) or 0,3,7. Found {text!r}."
            )
        seeds.extend(range(first, last + 1))
    return _distinct("--seeds", text, seeds)


def parse_grid(words: Sequence[str]) -> dict[str, Any]:
    """`key=[value, ...]` of every `--grid`, as key -> values.

    Raises:
        ConfigError: one reads otherwise, or a key or one of its values occurs twice.
    """
    grid: dict[str, Any] = {}
    for word in words:
        key, _, text = word.partition("=")
        values = parse_value(word, text) if text else None
        if not key or not isinstance(values, list) or not values:
            raise ConfigError(
                "`--grid` should read `KEY=[VALUE, ...]`, in quotes if it holds blanks, for example"
                f" --grid 'sac.tau=[0.005, 0.01]'. Found {word!r}."
            )
        if key in grid:
            raise ConfigError(f"`--grid` names {key!r} twice. Write all its values in one list.")
        _distinct("--grid", word, [json.dumps(value) for value in values])
        grid[key] = values
    return grid


def _distinct(option: str, text: str, values: list[Any]) -> list[Any]:
    if "" in values or len(set(values)) < len(values):
        raise ConfigError(f"`{option}` should name each value once, none empty. Found {text!r}.")
    return values


def _points(axes: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """The label and the overrides of every grid point; one without either if there is no grid."""
    from mtrl.jobs.grid import as_overrides, grid_points

    points = grid_points(axes)
    short = {key: key.rpartition(".")[2] for key in axes}
    if len(set(short.values())) < len(short):
        short = {key: key for key in axes}
    labels = [
        _safe("-".join(f"{short[key]}={_text(value)}" for key, value in point.items()))
        for point in points
    ]
    if len(set(labels)) < len(labels):
        labels = [f"{i}-{label}" for i, label in enumerate(labels)]
    return list(zip(labels, map(as_overrides, points), strict=True))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _safe(text: str) -> str:
    """A part of the name of a file."""
    return re.sub(r"[^\w.=+-]+", "_", text).strip("_")[:_LABEL_LENGTH]


def _checked(
    name: str, verb: str, files: Sequence[str], words: Sequence[str]
) -> tuple[Resolved[Any], Needs]:
    try:
        resolved = compose(verb, files, words)
        return resolved, examine(resolved.config)
    except MtrlError as error:
        raise type(error)(f"Job {name}: {error}") from error


def shared_values(plan: Plan) -> dict[str, Any]:
    """The dotted keys, with their values, that are the same in all jobs by design."""
    own = {"method_options", *_OWN, *plan.grid}
    values = flatten(dataclasses.asdict(plan.jobs[0].config))
    return {key: value for key, value in values if not _is_below(key, own)}


def options_by_method(plan: Plan) -> dict[str, dict[str, Any]]:
    """The options of each method that the grid does not set."""
    found = {}
    for job in plan.jobs[: len(plan.jobs) // len(plan.seeds)]:
        options = dict(job.config.method_options)
        found[job.config.method] = {
            key: value for key, value in options.items() if f"method_options.{key}" not in plan.grid
        }
    return found


def _is_below(key: str, owners: set[str]) -> bool:
    return any(key == owner or key.startswith(f"{owner}.") for owner in owners)
