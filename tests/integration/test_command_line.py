"""What the command answers to wrong input: the exit code and the remedy, before anything starts."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mtrl.arguments import join_lists
from mtrl.cli import main
from mtrl.errors import FAILED, OK, MtrlError
from mtrl.failures import guarded
from mtrl.runs.directory import RunDirectory
from tests.helpers import mtrl

FAKE = ["train", "-c", "fake"]
SMALL = [*FAKE, "run.tensorboard=false", "networks.actor=[8]", "networks.critic=[8]",
         "sac.batch_size=4", "schedule.total_env_steps=600", "schedule.warmup_env_steps=300",
         "evaluation.interval_env_steps=0"]  # fmt: skip


def answer(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit code and what stderr says; usage errors end the program as argparse does."""
    try:
        code = main(arguments)
    except SystemExit as stop:
        code = int(stop.code or 0)
    return code, capsys.readouterr().err


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, in which the command runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


WRONG = [
    # Words that are no arguments: the verb's usage, and what to type instead.
    (["trian"], 2, ["usage: mtrl", "'trian'", "Did you mean 'train'?"]),
    (["config", "shwo"], 2, ["usage: mtrl config", "shwo"]),
    (["train", "--seed=1"], 2, ["usage: mtrl train", "seed=1"]),
    (["train", "--seed", "1"], 2, [" seed=1"]),
    ([*FAKE, "--batch-size", "64"], 2, ["sac.batch_size=64"]),
    (["supervised", "--epochs=3"], 2, ["usage: mtrl supervised", "recipe.epochs=3"]),
    (["train", "--resum", "x"], 2, ["Did you mean '--resume'?"]),
    (["eval", "x", "--jsn"], 2, ["usage: mtrl eval", "--jsn"]),
    (["config", "show", "--seed=1"], 2, ["usage: mtrl config show", " seed=1"]),
    (["verify-env", "--steps", "many"], 2, ["usage: mtrl verify-env", "many"]),
    # Overrides.
    ([*FAKE, "sac.actor_lr", "=", "1e-3"], 2, ["without blanks around `=`", "'sac.actor_lr'"]),
    (["train", "mt10/quick"], 2, ["-c mt10/quick"]),
    ([*FAKE, "sac.batchsize=3"], 2, ["Did you mean 'sac.batch_size'?"]),
    ([*FAKE, "batch_size=3"], 2, ["Did you mean 'sac.batch_size'?"]),
    ([*FAKE, "sac.actor_lr=.inf"], 2, ["`sac.actor_lr` is inf (command line)", "finite"]),
    ([*FAKE, "networks.log_std_max=.nan"], 2, ["`networks.log_std_max` is nan", "finite"]),
    ([*FAKE, "seed=[0,1,2]"], 2, ["`seed`", "a run for each", "grid.seed"]),
    ([*FAKE, "method=rgb,pcgrad"], 2, ["one method", "a run for each"]),
    ([*FAKE, "method=all"], 2, ["one method", "mtrl supervised"]),
    ([*FAKE, "method=stl"], 2, ["one method", "mtrl supervised"]),
    (["supervised", "-c", "supervised/digits", "method=rgb,ls"], 2, ["grid.method=[rgb,ls]"]),
    ([*FAKE, "method=pivgr"], 2, ["Did you mean 'pivrg'?"]),
    ([*FAKE, "method=PIVRG"], 2, ["Did you mean 'pivrg'?"]),
    ([*FAKE, "method_options.bound=wide"], 2, ["'bound'", "'pivrg' should be a number", "'wide'"]),
    ([*FAKE, "method=ls", "method_options.pi.bond=3"], 2, ["'pi' has no option 'bond'", "'bound'"]),
    ([*FAKE, "env.tasks=[reach-v3"], 2, ["not valid YAML", "Quote"]),
    ([*FAKE, "env.tasks=[reech-v3,", "push-v3]"], 2, ["'reech-v3'", "Did you mean 'reach-v3'"]),
    ([*FAKE, "run.name=a: b"], 2, ["`run.name` is {'a': 'b'} (command line)"]),
    ([*FAKE, "run.name=a/b"], 2, ["`run.name`", "no `/`", "'a/b'", "run.directory"]),
    ([*FAKE, "run.name=../up"], 2, ["`run.name`", "'../up'"]),
    (["supervised", "-c", "supervised/digits", "run.name=../up"], 2, ["`run.name`", "'../up'"]),
    # Runs that would train nothing.
    ([*FAKE, "schedule.total_env_steps=18"], 2, ["has 9 steps of warm-up", "nothing would be trained"]),
    ([*FAKE, "schedule.updates_per_env_step=1e-5"], 2, ["1e-05 updates", "nothing would be trained"]),
    # Files.
    (["train", "-c", "mt10/quik"], 2, ["Did you mean 'mt10/quick'"]),
    (["train", "-c", "nope.yaml"], 2, ["No config file 'nope.yaml'", "mt10/quick"]),
    (["train", "-c", "mt10"], 2, ["'mt10' is a folder", "mt10/quick.yaml"]),
    (["train"], 2, ["`networks` is missing", "-c mt10/default"]),
    (["supervised"], 2, ["`problem` is missing", "-c supervised/digits"]),
    (["train", "-c", "supervised/digits"], 2, ["belongs to `mtrl supervised`"]),
    (["supervised", "-c", "mt10/quick"], 2, ["belongs to `mtrl train`"]),
    (["config", "show", "-c", "supervised/digits"], 2, ["belongs to `mtrl supervised`"]),
    # Runs that are not there.
    (["train", "--resume", "runs/zzz"], 2, ["error: runs/zzz does not exist", "mtrl runs"]),
    (["train", "--resume", "zzz"], 2, ["error: runs/zzz does not exist"]),
    (["supervised", "--resume", "zzz"], 2, ["error: runs/zzz does not exist"]),
    (["eval", "runs/zzz"], 2, ["error: runs/zzz does not exist"]),
    ([*FAKE, "--init-from", "zzz"], 2, ["error: runs/zzz does not exist"]),
    (["train", "--resume", "zzz", "seed=1"], 2, ["own configuration", "--init-from"]),
    (["runs"], 2, ["No folder runs"]),
    # Machines and places.
    ([*FAKE, "run.directory=/proc/nowhere"], 2, ["/proc/nowhere", "`run.directory`"]),
    (["verify-env", "--tasks", "fake3"], 2, ["one version only"]),
    (["verify-env", "--steps", "0"], 2, ["`--steps` should be at least 1"]),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "code", "parts"), WRONG, ids=lambda v: str(v)[:60])
def test_wrong_input_is_answered_with_its_remedy(
    arguments: list[str],
    code: int,
    parts: list[str],
    here: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found, said = answer(arguments, capsys)
    assert found == code
    for part in parts:
        assert part in said
    assert "unicode string" not in said
    assert not list(here.iterdir()), "nothing was started"


def test_a_name_like_no_other_gets_no_suggestion(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (["train", "-c", "nope.yaml"], [*FAKE, "env.tasks=Pendulum-v1"], ["zzz"]):
        code, said = answer(arguments, capsys)
        assert code == 2
        assert "Did you mean" not in said


def test_more_workers_than_cpus_are_refused_before_a_directory_is_made(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    many = (os.cpu_count() or 1) + 1
    job = [*FAKE, "collect.collector=ray", f"collect.num_workers={many}"]
    assert main(job) == 3
    assert f"`collect.num_workers` is {many}" in capsys.readouterr().err
    assert not (here / "runs").exists()


def test_a_file_in_the_place_of_the_folder_of_runs(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "taken").write_text("")
    assert main([*FAKE, "run.directory=taken"]) == 2
    assert "`run.directory` is taken, which is a file" in capsys.readouterr().err
    assert main([*FAKE, "run.directory=taken/below"]) == 2
    assert "Set `run.directory`" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", ["a: 1\na: 2\n", "a: !!python/none x\n", "a: [1\n", "a: *b\n", "a: 'x\n"]
)
def test_broken_yaml_is_named_by_line_without_the_parsers_excerpts(
    text: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "broken.yaml").write_text(text)
    code, said = answer(["train", "-c", "broken.yaml"], capsys)
    assert code == 2
    assert "broken.yaml is not valid YAML" in said
    assert "line " in said
    for noise in ("unicode string", "allow_duplicate_keys", "http"):
        assert noise not in said


def test_overrides_may_stand_on_both_sides_of_options(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["seed=3", "-c", "fake", "env.tasks=[reach-v3,", "push-v3]", "--json", "method=ls"]
    assert main(["config", "show", *arguments]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["seed"]["value"] == 3
    assert shown["env.tasks"]["value"] == ["reach-v3", "push-v3"]
    assert shown["method"]["value"] == "ls"


def test_only_lists_are_joined() -> None:
    assert join_lists(["a=[1,", "2,", "3]", "b=2"]) == ["a=[1, 2, 3]", "b=2"]
    assert join_lists(["a={b: [1,", "2]}", "c=1"]) == ["a={b: [1, 2]}", "c=1"]
    assert join_lists(["a=1", "b"]) == ["a=1", "b"]


# ---------------------------------------------------------------------------- runs in odd states


def only_run(base: Path) -> Path:
    (run,) = base.iterdir()
    return run


def test_a_finished_run_says_so_and_another_verbs_run_too(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(SMALL) == 0
    run = only_run(here / "runs")
    before = sorted((path, path.stat().st_mtime_ns) for path in (run / "checkpoints").rglob("*"))
    capsys.readouterr()
    assert main(["train", "--resume", run.name]) == 0
    assert "is done" in capsys.readouterr().err
    after = sorted((path, path.stat().st_mtime_ns) for path in (run / "checkpoints").rglob("*"))
    assert before == after, "nothing was saved again"
    assert main(["supervised", "--resume", run.name]) == 2
    assert "belongs to `mtrl train`" in capsys.readouterr().err
    assert main(["train", "--resume", run.name[:-1]]) == 2
    assert f"Did you mean {run.name!r}" in capsys.readouterr().err


def test_the_list_of_runs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("good", "damaged", "failed", "odd"):
        content = f"method: {name}_method\nseed: 7\n"
        run = RunDirectory.create(here / "runs", name, 7, content)
        run.write_status("failed" if name == "failed" else "done", env_steps=1234, updates=5,
                         error="Workers died.\nTraceback ...")  # fmt: skip
        (run.path / "eval").mkdir()
        run.release()
        final = run.path / "eval" / "final.json"
        if name == "good":
            final.write_text(json.dumps({"mean_success_rate": 0.25}))
        if name == "damaged":
            final.write_text("[1, 2")
        if name == "odd":
            final.write_text(json.dumps([{"test": 3}]))
            (run.path / "config.yaml").write_text("a: [")
            (run.path / "eval" / "step_000000000100.json").write_text('{"mean_success_rate": 0.5}')
    assert main(["runs"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    columns = "run state method seed age steps updates result"
    assert head.split() == columns.split()
    table = {line.split("-s7")[0]: line for line in lines}
    cells = table["good"].split()
    assert cells[1:4] == ["done", "good_method", "7"]
    assert cells[5:] == ["s", "1,234", "5", "success", "0.250"]
    assert table["damaged"].endswith("5")
    assert table["odd"].endswith("success 0.500 so far")
    assert lines[[line.startswith("failed") for line in lines].index(True) + 1].strip() == (
        "Workers died."
    )
    assert main(["runs", "--json"]) == 0
    rows = {row["name"].split("-")[0]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["failed"]["reason"] == "Workers died."
    assert rows["damaged"]["success"] is None
    assert rows["good"]["reason"] is None
    assert 0 <= rows["good"]["age_s"] < 60


# ------------------------------------------------------------------------------- before torch


@pytest.mark.parametrize(
    "arguments",
    [
        [*FAKE, "sac.batchsize=3"],
        [*FAKE, "schedule.total_env_steps=18"],
        [*FAKE, "run.name=a/b"],
        [*FAKE, "sac.batch_size=900000"],
        [*FAKE, "collect.collector=ray", "collect.num_workers=100000"],
        ["supervised", "-c", "supervised/digits", "recipe.epoch=3"],
        ["supervised"],
        ["train", "-c", "supervised/digits"],
        ["config", "show", "-c", "fake"],
        ["train", "--resume", "zzz"],
        ["supervised", "--resume", "zzz"],
        ["eval", "zzz"],
    ],
    ids=lambda a: " ".join(a)[:50],
)
def test_wrong_configurations_are_reported_before_anything_heavy_is_imported(
    arguments: list[str], tmp_path: Path
) -> None:
    code = (
        "import sys; from mtrl.cli import main; code = main(sys.argv[1:]);"
        "heavy = {'torch', 'ray', 'gymnasium', 'metaworld', 'mujoco', 'scipy'} & set(sys.modules);"
        "print('HEAVY', sorted(heavy), code)"
    )
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    code = 0 if arguments[0] == "config" else 3 if "collect.num_workers=100000" in arguments else 2
    assert done.stdout.splitlines()[-1] == f"HEAVY [] {code}", done.stderr


# --------------------------------------------------------------------------------- exit codes


@dataclasses.dataclass
class Options:
    verb: str = "doctor"


def test_errors_carry_their_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    class Derived(MtrlError):
        exit_code = 42

    def fail(_: object) -> int:
        raise Derived("do this")

    assert guarded(fail, Options()) == 42  # type: ignore[arg-type]
    assert capsys.readouterr().err == "error: do this\n"

    def break_down(_: object) -> int:
        raise KeyError("a defect")

    with pytest.raises(KeyError):
        guarded(break_down, Options())  # type: ignore[arg-type]


@pytest.mark.parametrize("arguments", [["config", "show", "-c", "fake"], ["runs", "."]])
def test_a_reader_that_goes_away_is_no_failure(arguments: list[str], tmp_path: Path) -> None:
    """`mtrl ... | true`: more than stdout's buffer holds, and less."""
    with subprocess.Popen(
        [sys.executable, "-m", "mtrl", *arguments],
        cwd=tmp_path,
        env={k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait() == OK
        assert errors == b""


def test_a_broken_pipe_that_is_not_stdouts_is_a_failure() -> None:
    def lose_a_worker(_: object) -> int:
        raise BrokenPipeError("a worker's")

    with pytest.raises(BrokenPipeError):
        guarded(lose_a_worker, Options())  # type: ignore[arg-type]


def test_python_m_mtrl_ends_with_the_code(tmp_path: Path) -> None:
    done = mtrl("train", "-c", "fake", "run.directory=/proc/nowhere", cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert FAILED == 1
