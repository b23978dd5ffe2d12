"""The results page of toys: one committed file of end points and thinned paths for each surface."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mtrl.runs.directory import RunDirectory, RunDirectoryError
from mtrl.runs.metric_log import read_jsonl
from mtrl.supervised.config import RecipeConfig
from mtrl.supervised.problems.toy.landscape import AT_OPTIMUM, ON_FRONT, paths_of, table_of_ends
from mtrl.supervised.problems.toy.plots import draw_methods
from mtrl.supervised.problems.toy.surface import Surface
from mtrl.supervised.problems.toy.toy_problem import Toy

_MANIFEST = ("created", "command", "python", "platform", "cpus", "versions", "git")
_VERSIONS = ("torch", "numpy", "scipy")
_SPACING = 0.25  # of the points that are kept of a path; a dot in the pictures is ten times as wide


def is_toy(run: RunDirectory) -> bool:
    """Whether a run descended a toy surface to its end."""
    return (run.path / "end_points.json").is_file()


def is_toy_content(content: dict[str, Any]) -> bool:
    """Whether :func:`add_toys` wrote a results file."""
    return "starts" in content


def add_toys(folder: Path, runs: Sequence[RunDirectory]) -> list[Path]:
    """Keep end points and thinned paths of finished descents.

    Each combination of surface, loss weight and starts has its own file. A run replaces an earlier
    one of the same method and options.

    Raises:
        RunDirectoryError: runs of one file differ in recipe or bound.
    """
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    heads: dict[str, dict[str, Any]] = {}
    for run in runs:
        config = run.config()
        surface = Toy(**config["problem_options"]).surface
        name = f"{surface.name}-{surface.loss_weight:g}-{len(surface.starts)}starts"
        heads[name] = _head(surface, config)
        groups[name].append(_row(surface, config, run))
    folder.mkdir(parents=True, exist_ok=True)
    return [_merge(folder / f"{name}.json", heads[name], rows) for name, rows in groups.items()]


def _head(surface: Surface, config: dict[str, Any]) -> dict[str, Any]:
    recipe = RecipeConfig(**config["recipe"]).apply_to(Toy.recipe)
    return {
        "surface": surface.name,
        "loss_weight": surface.loss_weight,
        "starts": surface.starts,
        "steps": recipe.epochs,
        "learning_rate": recipe.learning_rate,
        "betas": recipe.betas,
        "max_grad_norm": config["balancing"]["max_grad_norm"],
    }


def _row(surface: Surface, config: dict[str, Any], run: RunDirectory) -> dict[str, Any]:
    manifest = json.loads((run.path / "manifest.json").read_text())
    manifest["command"] = _command(manifest["command"])
    result = json.loads((run.path / "eval" / "final.json").read_text())
    ends = json.loads((run.path / "end_points.json").read_text())
    changes = [f"{key}={value:g}" for key, value in config["method_options"].items()]
    paths = paths_of(surface, read_jsonl(run.path / "metrics.jsonl"))
    return {
        "method": " ".join([config["method"], *changes]),
        "ends": [end["theta"] for end in ends],
        "losses": [end["losses"] for end in ends],
        "paths": [thin(path, _SPACING).round(3).tolist() for path in paths],
        "wall_s": round(result["wall_s"], 1),
        "manifest": {key: manifest[key] for key in _MANIFEST},
    }


def thin(path: np.ndarray, spacing: float) -> np.ndarray:
    """Thin out `path [points, 2]`: kept points are at least `spacing` apart; both ends are kept."""
    kept = [0]
    for i, point in enumerate(path[:-1]):
        if np.hypot(*(point - path[kept[-1]])) >= spacing:
            kept.append(i)
    return path[[*kept, len(path) - 1]]


def _command(arguments: Sequence[str]) -> str:
    """A command line without folders of the machine."""
    own = [a for a in arguments[1:] if not a.startswith("run.directory=")]
    return " ".join(["mtrl", *own])


def _merge(path: Path, head: dict[str, Any], rows: list[dict[str, Any]]) -> Path:
    head = json.loads(json.dumps(head))
    known: dict[str, dict[str, Any]] = {}
    if path.exists():
        before = json.loads(path.read_text())
        found = {key: before[key] for key in head}
        if found != head:
            raise RunDirectoryError(
                f"{path} holds descents by another recipe. Expected {found}. Found {head}. Add these"
                " runs to another folder."
            )
        for row in before["runs"]:
            row["manifest"] = before["manifest"] | row["manifest"]
            known[row["method"]] = row
    known |= {row["method"]: row for row in rows}
    merged = [known[key] for key in sorted(known)]
    shared = merged[0]["manifest"]
    for row in merged:  # keep only what differs from the first run
        row["manifest"] = {k: v for k, v in row["manifest"].items() if v != shared[k]}
    content = head | {"manifest": shared, "runs": merged}
    path.write_text(json.dumps(content, separators=(",", ":")) + "\n")
    return path


def toy_page(folder: Path) -> str:
    """Write `<folder>.md` and a picture for each file in a folder; returns the text."""
    lines = [
        f"# {folder.name}",
        "",
        f"Made by `mtrl results page {folder}` from the files in `{folder}/`.",
        "",
        "Where each method ends on the papers' surfaces in the plane, from each start.",
        f"`front`: starts that end within {ON_FRONT} of the Pareto front; `optimum`: within"
        f" {AT_OPTIMUM} of an optimum of the sum of the losses. Bounds are for methods that read task"
        " gradients, not for loss weightings (see `mtrl.supervised.problems.toy`).",
    ]
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text())
        surface = _surface(content)
        picture = folder.with_name(f"{folder.name}_{path.stem}.png")
        rows = content["runs"]
        ends = {row["method"]: np.array(row["ends"]) for row in rows}
        paths = {row["method"]: [np.array(own) for own in row["paths"]] for row in rows}
        draw_methods(surface, paths, picture)
        bound = content["max_grad_norm"]
        lines += [
            "",
            f"## {surface.name.replace('_', ' ')}, {surface.loss_weight:g} L1 + L2,"
            f" {len(surface.starts)} starts",
            "",
            f"{content['steps']:,} steps of Adam, learning rate {content['learning_rate']:g}, betas"
            f" {content['betas'][0]:g} and {content['betas'][1]:g},"
            f" {f'directions bounded by {bound:g}' if bound else 'no bound'}.",
            "",
            table_of_ends(surface, ends).rstrip(),
            "",
            *_provenance(content),
            "",
            f"![paths of all methods]({picture.name})",
        ]
    text = "\n".join(lines)
    folder.with_suffix(".md").write_text(text + "\n")
    return text


def _surface(content: dict[str, Any]) -> Surface:
    starts = tuple((x, y) for x, y in content["starts"])
    return Surface(content["surface"], content["loss_weight"], starts)


def _provenance(content: dict[str, Any]) -> list[str]:
    lines = set()
    for row in content["runs"]:
        facts = content["manifest"] | row["manifest"]
        git = facts["git"] or {"commit": "unknown", "dirty": None}
        state = {True: " with changes", False: ", clean", None: ""}[git["dirty"]]
        versions = ", ".join(f"{k} {facts['versions'][k]}" for k in _VERSIONS)
        lines.add(
            f"- {facts['created'][:10]}, commit {git['commit'][:9]}{state}, {facts['cpus']} CPUs,"
            f" {facts['platform']}, Python {facts['python']}, {versions}"
        )
    seconds = [row["wall_s"] for row in content["runs"]]
    command = (content["manifest"] | content["runs"][0]["manifest"])["command"]
    return [
        *sorted(lines),
        f"- {len(seconds)} runs, {np.median(seconds):.0f} s each (median, beside other work), for"
        f" instance `{command}`; the files hold every command",
    ]
