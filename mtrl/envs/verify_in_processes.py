#!/usr/bin/env python3
"""Keep a record of `mtrl verify-env`: which tasks were compared, for how long, and what differs.

The comparison is that of the command: fast environments against the library's own, to the last bit.
Tasks are shared out among processes. Exit code 4 if anything differs.

    scripts/verify_env --json >results/verify_env.json     50 tasks, 20,000 steps each: about 15 minutes on
                                                           two idle cores
    scripts/verify_env --tasks reach-v3 --steps 200
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

from _bench import report, table, tasks_argument

from mtrl.envs.suites import task_names
from mtrl.envs.verify import verify


def compare(name: str, steps: int) -> dict[str, Any]:
    """The record of one task."""
    found = verify([name], steps)
    print(f"{name}: {'identical' if found.identical else found.differences[0]}", file=sys.stderr)
    return {
        "task": name,
        "steps": found.steps[name],
        "resets": found.episodes[name],
        "same exceptions": found.exceptions.get(name, 0),
        "difference": str(found.differences[0]) if found.differences else "",
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", default="mt50", help="benchmark or names separated by commas")
    parser.add_argument("--steps", type=int, default=20_000, help="of each task")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()

    names = task_names(tasks_argument(args.tasks))
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(args.processes, spawned) as pool:
        records = list(pool.map(partial(compare, steps=args.steps), names))
    differ = sum(bool(record["difference"]) for record in records)
    total = {
        "tasks compared": len(records),
        "steps": sum(record["steps"] for record in records),
        "resets": sum(record["resets"] for record in records),
        "tasks that differ": differ,
    }
    options = {k: v for k, v in vars(args).items() if k != "json"}
    text = f"{table(records)}\n{table([total])}"
    report({"options": options, **total, "tasks": records}, text, as_json=args.json)
    return 4 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
