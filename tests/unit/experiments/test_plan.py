"""The plan of a sweep: which jobs, in which order, and what is refused before any starts."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtrl.config import flatten
from mtrl.errors import MtrlError
from mtrl.experiments.plan import Plan, make_plan, parse_grid, parse_seeds


def plan(*overrides: str, methods: str = "ls,pcgrad", seeds: str = "0..1", **options) -> Plan:
    return make_plan("train", ["fake"], overrides, methods=methods, seeds=seeds, **options)


def test_jobs_come_seed_by_seed() -> None:
    assert [job.name for job in plan().jobs] == ["ls-s0", "pcgrad-s0", "ls-s1", "pcgrad-s1"]
    made = plan(grid=["sac.tau=[0.01, 0.02]", "env.tasks=[fake2]"], methods="ls", seeds="3")
    assert [job.name for job in made.jobs] == [
        "tau=0.01-tasks=fake2-ls-s3",
        "tau=0.02-tasks=fake2-ls-s3",
    ]
    assert [job.config.sac.tau for job in made.jobs] == [0.01, 0.02]


def test_jobs_of_one_seed_differ_in_method_and_grid_alone() -> None:
    made = plan("sac.batch_size=7", grid=["sac.tau=[0.01, 0.02]"])
    for seed in made.seeds:
        values = [
            dict(flatten(dataclasses.asdict(job.config)))
            for job in made.jobs
            if job.config.seed == seed
        ]
        assert len(values) == 4
        differing = {key for other in values for key in other if other[key] != values[0][key]}
        assert differing == {"method", "sac.tau"}
    assert {job.config.sac.batch_size for job in made.jobs} == {7}


def test_the_configuration_of_a_job_is_that_of_its_command() -> None:
    from mtrl.jobs.compose import compose

    for job in plan(grid=["sac.tau=[0.01, 0.02]"]).jobs:
        assert compose("train", ["fake"], job.overrides).config == job.config


def test_options_belong_to_the_methods_of_the_sweep() -> None:
    (job,) = plan("method_options.radius=0.3", methods="cagrad", seeds="0").jobs
    assert job.config.method_options == {"radius": 0.3}


@given(st.lists(st.integers(0, 30), min_size=1, unique=True))
def test_any_list_of_seeds_is_read(seeds: list[int]) -> None:
    assert parse_seeds(",".join(map(str, seeds))) == seeds


@given(st.integers(0, 50), st.integers(0, 20))
def test_any_range_of_seeds_is_read(first: int, more: int) -> None:
    assert parse_seeds(f"{first}..{first + more}") == list(range(first, first + more + 1))


@pytest.mark.parametrize("text", ["", "a", "4..0", "-1", "0,,1", "0..2,1", "1.5", "0..", "0...3"])
def test_other_seeds_are_refused(text: str) -> None:
    with pytest.raises(MtrlError, match="--seeds"):
        parse_seeds(text)


@pytest.mark.parametrize(
    "words", [["sac.tau"], ["sac.tau=0.1"], ["=[1]"], ["a=[]"], ["a=[1, 1]"], ["a=[1]", "a=[2]"]]
)
def test_other_grids_are_refused(words: list[str]) -> None:
    with pytest.raises(MtrlError, match="--grid"):
        parse_grid(words)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"methods": "ls,pcgrda"}, r"Job pcgrda-s0: .*'pcgrad'"),
        ({"methods": "ls,ls"}, "each value once"),
        ({"methods": "ls,"}, "none empty"),
        ({"grid": ["sac.tua=[1]"]}, r"Job tua=1-ls-s0: Unknown key `sac.tua`"),
        ({"grid": ["sac.tau=[0.1, 7]"]}, "Job tau=7-ls-s0: `sac.tau` is 7"),
        ({"grid": ["seed=[1, 2]"]}, "Use `--seeds`"),
    ],
)
def test_a_wrong_job_is_refused_by_its_name(options: dict, said: str) -> None:
    with pytest.raises(MtrlError, match=said):
        plan(**options)


def test_keys_of_the_sweep_are_refused_among_the_overrides() -> None:
    with pytest.raises(MtrlError, match="Use `--methods`"):
        plan("method=ls")


def test_names_are_distinct_and_fit_into_a_file_s_name() -> None:
    grid = ["networks.actor=[[8], [8, 8]]", "env.tasks=[fake2, [fake-0/x, a b]]"]
    from mtrl.experiments.plan import _points

    labels = [label for label, _ in _points(parse_grid(grid))]
    assert len(set(labels)) == 4
    assert not any(set(label) & set("/ []") for label in labels)
    long = [f"a=[{'x' * 99}1, {'x' * 99}2]"]
    assert len({label for label, _ in _points(parse_grid(long))}) == 2


def test_a_run_keeps_one_cpu_busy_or_its_workers_and_one_more() -> None:
    (job,) = plan(methods="ls", seeds="0").jobs
    assert job.needs.cpus == 1
    assert job.needs.share_done({"state": "running", "env_steps": 6000}) == 0.25
    assert job.needs.share_done({"state": "running"}) == 0
    assert job.needs.share_done({"state": "done"}) == 1
    (job,) = plan("collect.collector=ray", "collect.num_workers=2", methods="ls", seeds="0").jobs
    assert job.needs.cpus == 3


def supervised(*overrides: str, methods: str = "ls") -> Plan:
    return make_plan("supervised", ["supervised/digits"], overrides, methods=methods, seeds="0")


def test_supervised_problems_are_planned_too() -> None:
    (job,) = supervised("recipe.epochs=4").jobs
    assert (job.needs.cpus, job.needs.counter, job.needs.total) == (1, "epochs", 4)
    names = supervised(methods="all").methods
    assert "pivrg" in names and "fixed" not in names


@pytest.mark.parametrize(
    ("override", "method", "said"),
    [("grid.seed=[0, 1]", "ls", "`--grid"), ("recipe.epochs=2", "stl", "one run")],
)
def test_a_job_is_one_run(override: str, method: str, said: str) -> None:
    with pytest.raises(MtrlError, match=said):
        supervised(override, methods=method)
