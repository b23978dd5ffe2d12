"""The results page of RL runs: a table and a picture, made from small committed files."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

from mtrl.balancing import arm_name
from mtrl.runs.directory import RunDirectory, RunDirectoryError
from mtrl.runs.metric_log import read_jsonl


def summarise(run: RunDirectory) -> dict[str, Any]:
    """Summarise a finished run for a results page.

    Raises:
        RunDirectoryError: the run has no final evaluation.
    """
    try:
        final = json.loads((run.path / "eval" / "final.json").read_text())
    except OSError as error:
        raise RunDirectoryError(
            f"{run.path} has no final evaluation. Let it finish: mtrl train --resume {run.path}"
        ) from error
    config = run.config()
    manifest = json.loads((run.path / "manifest.json").read_text())
    records = read_jsonl(run.path / "metrics.jsonl")
    timing = read_jsonl(run.path / "timing.jsonl")
    curve = [
        [r["env_steps"], r["charts/mean_success_rate"]]
        for r in records
        if r.get("charts/mean_success_rate") is not None
    ]
    evaluations = [
        [r["evaluated_at"], r["eval/mean_success_rate"]]
        for r in records
        if "eval/mean_success_rate" in r
    ]
    return {
        "name": run.path.name,
        "method": arm_name(config["method"], config["method_options"]),
        "seed": config["seed"],
        "trained": config["schedule"]["total_env_steps"] > 0,
        "final": {key: final[key] for key in ("mean_success_rate", "success_rate", "goals")},
        "env_steps": final["at_env_steps"],
        "updates": final["policy_version"],
        "training_seconds": round(timing[-1]["wall_s"]) if timing else 0,
        "curve": curve,
        "evaluations": evaluations,
        "manifest": {k: manifest[k] for k in ("created", "command", "python", "platform", "cpus",
                                              "versions", "git")},
    }  # fmt: skip


def page(folder: Path) -> str:
    """Write `<folder>.md` and `<folder>.png` from the summaries in a folder; return the text."""
    runs = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    if not runs:
        raise RunDirectoryError(f"No summaries in {folder}. Add runs first: mtrl results add ...")
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for run in runs:
        groups[run["method"] if run["trained"] else "untrained"].append(run)
    lines = [
        f"# {folder.name}",
        "",
        f"Made by `mtrl results page {folder}` from the files in `{folder}/`.",
        "",
        "Success rate of the last checkpoint in the final evaluation: each of the"
        f" {len(runs[0]['final']['goals'])} goals once per task, deterministic policy.",
        "",
        *_table(groups),
        "",
        *_provenance(runs),
        "",
        f"![success over training]({folder.name}.png)",
    ]
    text = "\n".join(lines)
    folder.with_suffix(".md").write_text(text + "\n")
    _picture(groups, folder.with_suffix(".png"))
    return text


def _table(groups: dict[str, list[dict[str, Any]]]) -> list[str]:
    columns = [
        (name, run)
        for name, runs in groups.items()
        for run in sorted(runs, key=lambda r: r["seed"])
    ]
    head = " | ".join(f"{name}, seed {run['seed']}" for name, run in columns)
    lines = [f"| task | {head} |", "|" + "---|" * (len(columns) + 1)]
    for task in columns[0][1]["final"]["success_rate"]:
        cells = " | ".join(f"{run['final']['success_rate'][task]:.2f}" for _, run in columns)
        lines.append(f"| {task} | {cells} |")
    means = " | ".join(f"**{run['final']['mean_success_rate']:.3f}**" for _, run in columns)
    lines.append(f"| **mean** | {means} |")
    for fact, label in (("env_steps", "environment steps"), ("updates", "updates")):
        lines.append(f"| {label} | " + " | ".join(f"{run[fact]:,}" for _, run in columns) + " |")
    minutes = " | ".join(f"{run['training_seconds'] / 60:.1f}" for _, run in columns)
    lines.append(f"| minutes of training | {minutes} |")
    lines.append("")
    for name, runs in groups.items():
        means = [run["final"]["mean_success_rate"] for run in runs]
        spread = f", standard deviation {statistics.stdev(means):.3f}" if len(means) > 1 else ""
        lines.append(f"- {name}: mean {statistics.mean(means):.3f} over {len(means)} seeds{spread}")
    return lines


def _provenance(runs: list[dict[str, Any]]) -> list[str]:
    """Date, machine, versions and commit of the runs: one line for each combination."""
    lines = set()
    for run in runs:
        facts = run["manifest"]
        versions = ", ".join(f"{k} {v}" for k, v in facts["versions"].items())
        commit = (facts["git"] or {}).get("commit", "unknown")[:9]
        lines.add(
            f"- {facts['created'][:10]}, {facts['cpus']} CPUs, {facts['platform']}, Python"
            f" {facts['python']}, {versions}, commit {commit}"
        )
    return sorted(lines)


def _picture(groups: dict[str, list[dict[str, Any]]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    colours = plt.get_cmap("tab10")
    for i, (name, runs) in enumerate(groups.items()):
        for run in runs:
            label = f"{name}, seed {run['seed']}"
            style = {"color": colours(i), "alpha": 0.5 + 0.5 / (1 + run["seed"])}
            if run["curve"]:
                axes.plot(*zip(*run["curve"], strict=True), label=label, **style)
                axes.plot(run["env_steps"], run["final"]["mean_success_rate"], "*", ms=13, **style)
            else:
                axes.axhline(run["final"]["mean_success_rate"], ls=":", label=label, **style)
    axes.set(
        xlabel="environment steps (all tasks)",
        ylabel="mean success rate",
        ylim=(-0.03, 1.03),
        title="Training episodes (line) and final evaluation (star)",
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)
    plt.close(figure)
