"""The page on speed: summary, targets, tables and growth, from the raw JSON that the benches print."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mtrl.bench.page.growth import growth
from mtrl.bench.page.repeats import Results, read_results
from mtrl.bench.page.sections import sections
from mtrl.bench.page.speed_summary import summary
from mtrl.bench.page.targets import read_targets, targets_table


def speed_page(folder: Path) -> str:
    """Write `<folder>.md` from the files in a folder; returns the text.

    `X.json` and `X_variant.json` hold what `mtrl bench X --json` printed; several runs are `X.1.json`,
    `X.2.json`, and so on. `targets.yaml` holds bounds. `notes.md` goes onto the page as it is.
    """
    results = read_results(folder)
    lines = [
        "# Speed",
        "",
        f"Made by `mtrl results speed results/{folder.name}` from the files in"
        f" `results/{folder.name}/`, each printed by the command named below (`--json`). Ratios were"
        " taken interleaved within one run, by processor time of the thread where nothing else is"
        " said. Where a benchmark ran several times, a figure is the median of the runs with the"
        " smallest and the largest in brackets. Absolute times vary by up to 2x with what else the"
        " machine does: see the load averages at the end. **Nothing here was measured on a GPU.**",
        "",
        "## In short",
        "",
        *summary(results),
        "",
        *_targets(folder, results),
        "## Measurements",
        "",
        *sections(results),
        *growth(results),
        *_notes(folder),
        "## Machine and commands",
        "",
        *_old_commands(results),
        *_provenance(results),
    ]
    text = "\n".join(lines)
    folder.with_suffix(".md").write_text(text + "\n")
    return text


def _targets(folder: Path, results: Results) -> list[str]:
    targets = read_targets(folder)
    if not targets:
        return []
    return [
        "## Targets",
        "",
        "*Within noise*: some runs meet the target and others miss it; the median decides. One run says"
        " nothing about noise.",
        "",
        *targets_table(results, targets),
        "",
    ]


def _old_commands(results: Results) -> list[str]:
    """What the commands of older raw files are called today."""
    commands = [about["command"] for result in results.values() for about in result["machines"]]
    if not any(command.startswith("scripts/") for command in commands):
        return []
    return ["`scripts/bench_X` is `mtrl bench X` today.", ""]


def _notes(folder: Path) -> list[str]:
    path = folder / "notes.md"
    return [path.read_text()] if path.exists() else []


def _provenance(results: Results) -> list[str]:
    lines = []
    for name, result in results.items():
        runs: dict[str, list[str]] = {}
        for about in result["machines"]:
            runs.setdefault(_machine(about), []).append(
                f"{about['date'][:16]} (load {about['load']:.1f})"
            )
        for described, when in runs.items():
            lines.append(f"- `{name}`: {described}, {', '.join(when)}{_peer(result)}")
    return lines


def _machine(about: dict[str, Any]) -> str:
    """Command, commit, processor and versions of a run."""
    versions = ", ".join(
        f"{key} {about[key]}"
        for key in ("python", "torch", "mujoco", "metaworld", "numpy", "ray")
        if key in about
    )
    git = about.get("git")
    code = "commit not recorded"
    if git:
        code = f"commit {git['commit'][:7]}" + (" with changes" if git["dirty"] else "")
    return f"`{about['command']}`, {code}, {about['processor']}, {about['cores']} cores, {versions}"


def _peer(result: dict[str, Any]) -> str:
    """Which commit of another framework was measured, and on what."""
    about = result.get("peer")
    if about is None:
        return ""
    commit = about["commit"][:7] + (", modified" if about["modified"] else "")
    packages = ("python", "jax", "flax", "optax", "mujoco", "metaworld", "numpy", "gymnasium")
    versions = ", ".join(f"{key} {about[key]}" for key in packages)
    return f"; against {about['name']} ({commit}) on {versions}"
