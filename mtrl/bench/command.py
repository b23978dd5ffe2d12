"""Run one bench of `mtrl bench NAME`, in this process."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mtrl.bench import ALL, BENCHES, measure_all
from mtrl.bench.bench_options import BenchError, add_arguments, from_arguments
from mtrl.errors import suggest
from mtrl.runs.machine import describe_machine


def run(name: str, arguments: Sequence[str]) -> None:
    """Run a bench and print its table, or with `--json` one object of the machine and the result.

    Args:
        name: of the bench, or `all`.
        arguments: after the name.

    Raises:
        BenchError: there is no such bench.
    """
    if name == ALL:
        measure_all.run(parse(name, arguments)[0])
        return
    options, as_json = parse(name, arguments)
    bench = importlib.import_module(BENCHES[name].module)
    shown, command = _shown(options, ["mtrl", "bench", name, *arguments])
    result = bench.measure(options)
    machine = describe_machine(command)  # with the load that the bench ran under
    if as_json:
        print(json.dumps({"machine": machine, "options": shown, **result}))
    else:
        print(f"{machine['processor']}, {machine['cores']} cores, load {machine['load']:.1f}")
        print(bench.show(result))


def parse(name: str, arguments: Sequence[str]) -> tuple[Any, bool]:
    """The options of a bench, and whether its result is to be printed as JSON."""
    if name != ALL and name not in BENCHES:
        raise BenchError(
            f"There is no bench {name!r}.{suggest(name, [*BENCHES, ALL])} `mtrl bench --help` lists"
            " all benches."
        )
    # Read when torch and NumPy are imported: what is timed runs on one thread.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    module = measure_all if name == ALL else importlib.import_module(BENCHES[name].module)
    parser = argparse.ArgumentParser(
        prog=f"mtrl bench {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_arguments(parser, module.Options)
    if name != ALL:
        parser.add_argument("--json", action="store_true", help="print one JSON object")
    parsed = parser.parse_intermixed_args(arguments)
    return from_arguments(module.Options, parsed), getattr(parsed, "json", False)


def _shown(options: Any, command: Sequence[str]) -> tuple[dict[str, Any], str]:
    """Options and command for the record: a folder of this machine is replaced by its option's name."""
    values, words = {}, list(command)
    for key, value in dataclasses.asdict(options).items():
        if isinstance(value, Path):
            hidden = key.upper()
            words = [hidden if word == str(value) else word for word in words]
            words = [w.replace(f"={value}", f"={hidden}") if w[:2] == "--" else w for w in words]
            value = hidden
        values[key] = value
    return values, shlex.join(words)
