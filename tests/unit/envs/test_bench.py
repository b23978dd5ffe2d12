"""The environment benchmarks run, and print what others read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def _run(script: str, *options: str) -> str:
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / script), *options],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.mark.parametrize(
    ("script", "options", "columns"),
    [
        ("bench_env", ["--blocks", "2", "--floor"], {"original/fast", "fast/floor"}),
        ("bench_reset", ["--resets", "2"], {"fast/original", "identical"}),
    ],
    ids=["env", "reset"],
)
def test_one_json_object(script, options, columns):
    result = json.loads(_run(script, "--tasks", "reach-v3", "--json", *options))

    assert result["machine"]["command"].startswith(f"scripts/{script} --tasks reach-v3")
    assert [row["task"] for row in result["tasks"]] == ["reach-v3"]
    assert columns <= result["tasks"][0].keys()
    assert columns <= result["mean"].keys()


def test_table_names_each_task():
    text = _run("bench_reset", "--tasks", "reach-v3,push-v3", "--resets", "1")

    assert [line.split()[0] for line in text.splitlines()[-3:]] == ["reach-v3", "push-v3", "mean"]
