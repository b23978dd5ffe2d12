#!/usr/bin/env python3
"""Keep the small facts of finished runs, and make a results page from them.

scripts/results add results/mt10_quick RUN...    copy what the page needs out of run directories
scripts/results page results/mt10_quick          write results/mt10_quick.md and its picture
scripts/results speed results/speed              write results/speed.md from what benchmarks printed

Runs of `mtrl supervised` go into one file per variant, and their page holds a table for each; so do
descents on the toy surfaces, with a picture for each: scripts/results page results/toy.

Everything on the page comes from the files in the folder, so anyone can make it again.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from mtrl.report.supervised_page import add_runs, benchmark_page, is_supervised
from mtrl.report.results import page, summarise
from mtrl.report.speed import speed_page
from mtrl.supervised.problems.toy.toy_page import add_toys, is_toy, is_toy_content, toy_page
from mtrl.runs.directory import RunDirectory


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=["add", "page", "speed"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("runs", nargs="*", type=Path)
    options = parser.parse_args()
    if options.action == "add" and not options.runs:
        parser.error("name the run directories to add")
    runs = [RunDirectory.open(run) for run in options.runs]
    if options.action == "speed":
        print(speed_page(options.folder))
    elif options.action == "page":
        raw = [json.loads(path.read_text()) for path in options.folder.glob("*.json")]
        toys = any(is_toy_content(content) for content in raw)
        supervised = any("tasks" in content for content in raw)
        write = toy_page if toys else benchmark_page if supervised else page
        print(write(options.folder))
    elif all(is_toy(run) for run in runs):
        add_toys(options.folder, runs)
    elif all(is_supervised(run) for run in runs):
        add_runs(options.folder, runs)
    else:
        options.folder.mkdir(parents=True, exist_ok=True)
        for run in runs:
            facts = summarise(run)
            (options.folder / f"{facts['name']}.json").write_text(json.dumps(facts, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
