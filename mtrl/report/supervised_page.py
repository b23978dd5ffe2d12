"""The results page of supervised runs: one committed file of raw results and one table per variant."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mtrl.extras import DISTRIBUTION
from mtrl.report.balance import COLUMNS, balance_rows
from mtrl.report.supervised_tables import mean_ranks
from mtrl.runs.directory import RunDirectory, RunDirectoryError


def is_supervised(run: RunDirectory) -> bool:
    """Whether `mtrl supervised` made the run."""
    return (run.path / "problem.json").is_file()


def add_runs(folder: Path, runs: Sequence[RunDirectory]) -> list[Path]:
    """Keep the results of finished runs, one file per problem and options; return the files.

    A run replaces an earlier one of the same method, options and seed.

    Raises:
        RunDirectoryError: a run has no final result, or no Delta-m.
    """
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    units: dict[str, Any] = {}
    for run in runs:
        config = run.config()
        try:
            result = json.loads((run.path / "eval" / "final.json").read_text())
        except OSError as error:
            raise RunDirectoryError(
                f"{run.path} has no final result. Let it finish: mtrl supervised --resume {run.path}"
            ) from error
        if len(result["test"]) != 1 or "drops" not in result["test"][0]:
            raise RunDirectoryError(
                f"{run.path} cannot stand in a table of Delta-m: it has several starts, or no"
                " single-task results to compare with. Name them: baseline=[FILE]."
            )
        options = "-".join(str(value) for value in config["problem_options"].values())
        name = "-".join(filter(None, [config["problem"], options]))
        units[name] = json.loads((run.path / "problem.json").read_text())
        groups[name].append(_row(config, result, run))
    folder.mkdir(parents=True, exist_ok=True)
    return [_merge(folder / f"{name}.json", units[name], rows) for name, rows in groups.items()]


def _row(config: dict[str, Any], result: dict[str, Any], run: RunDirectory) -> dict[str, Any]:
    # The path of a log means nothing on another machine.
    options = {k: v for k, v in config["method_options"].items() if k not in ("log", "key")}
    recipe = {k: v for k, v in config["recipe"].items() if v is not None}
    changes = [f"{k}={v}" for k, v in (options | recipe).items()]
    return {
        "method": " ".join([config["method"], *changes]),
        "seed": config["seed"],
        "test": result["test"],
        "selected_by": result["selected_by"],
        "selected_epoch": result["selected_epoch"],
        "updates": result["updates"],
        "lowest_loss": result["lowest_loss"],
        "wall_s": round(result["wall_s"], 1),
        "manifest": run.provenance(),
    }


def _merge(path: Path, tasks: dict[str, Any], rows: list[dict[str, Any]]) -> Path:
    known: dict[tuple[str, int], dict[str, Any]] = {}
    if path.exists():
        before = json.loads(path.read_text())
        for row in before["runs"]:
            row["manifest"] = before["manifest"] | row["manifest"]
            known[row["method"], row["seed"]] = row
    known |= {(row["method"], row["seed"]): row for row in rows}
    merged = [known[key] for key in sorted(known)]
    shared = merged[0]["manifest"]
    for row in merged:  # keep only what differs from the first run
        row["manifest"] = {k: v for k, v in row["manifest"].items() if v != shared[k]}
    content = {"tasks": tasks, "manifest": shared, "runs": merged}
    path.write_text(json.dumps(content, separators=(",", ":")) + "\n")
    return path


def supervised_page(folder: Path) -> str:
    """Write `<folder>.md` and `<folder>.png` from the files in a folder; return the text."""
    files = sorted(folder.glob("*.json"))
    if not files:
        raise RunDirectoryError(f"No results in {folder}. Add runs first: mtrl results add ...")
    lines = [
        f"# {folder.name}",
        "",
        f"Made by `mtrl results page {folder}` from the files in `{folder}/`.",
        "",
        "Test split, at the epoch that the run's rule selects on the validation split. Mean over seeds,"
        " plus or minus the standard error. `delta_m`: mean over metrics of the percentage behind"
        " single-task training, lower is better. `MR`: mean rank over the metrics of the seeds' means,"
        " among the methods of this table; `MR, stl`: single-task training ranked among them, as RGB's"
        " tables do; `MR, stl, nested`: the mean within tasks first, as RGB's and Gama and Grassi's"
        " formula. `variance`: of the percentages over metrics.",
    ]
    contents = {path.stem: json.loads(path.read_text()) for path in files}
    for name, content in contents.items():
        lines += ["", f"## {name}", "", *_table(content), *_balance(content), "", *_facts(content)]
    lines += ["", f"![percent behind single-task training]({folder.name}.png)"]
    text = "\n".join(lines)
    folder.with_suffix(".md").write_text(text + "\n")
    _picture(contents, folder.with_suffix(".png"))
    return text


def _by_method(content: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for run in content["runs"]:
        groups[run["method"]].append(run)
    return groups


def _columns(content: dict[str, Any]) -> list[tuple[str, str, bool]]:
    return [
        (task, metric, facts["higher_is_better"])
        for task, metrics in content["tasks"].items()
        for metric, facts in metrics.items()
    ]


def _table(content: dict[str, Any]) -> list[str]:
    groups, columns = _by_method(content), _columns(content)
    behind = np.array(
        [[np.mean([r["test"][0]["drops"][t][k] for r in runs]) for t, k, _ in columns]
         for runs in groups.values()]
    )  # fmt: skip
    ranks = _mean_ranks(behind, [task for task, _, _ in columns])
    rows = []
    for (method, runs), rank in zip([*groups.items(), ("stl", [])], ranks, strict=True):
        shown = [f"{value:.1f}" if np.isfinite(value) else "" for value in rank]
        if not runs:  # the single-task row, to which the percentages refer
            empty = [""] * len(columns)
            cells = [*empty, *["0.0"] * len(columns), "0.0", *shown, "0", ""]
            rows.append((0.0, f"| {method} | {' | '.join(cells)} |"))
            continue
        cells = [_spread([r["test"][0]["metrics"][t][k] for r in runs], 4) for t, k, _ in columns]
        cells += [_spread([r["test"][0]["drops"][t][k] for r in runs], 1) for t, k, _ in columns]
        delta = [r["test"][0]["delta_m"] for r in runs]
        variance = np.mean([r["test"][0]["variance"] for r in runs])
        cells += [_spread(delta, 1), *shown, f"{variance:.0f}", str(len(runs))]
        rows.append((float(np.mean(delta)), f"| {method} | {' | '.join(cells)} |"))
    heads = [f"{task} {metric}" for task, metric, _ in columns]
    heads += [f"{task} {metric}, % behind" for task, metric, _ in columns]
    heads += ["delta_m", "MR", "MR, stl", "MR, stl, nested", "variance", "seeds"]
    head = f"| method | {' | '.join(heads)} |"
    rule = "|---" * (len(heads) + 1) + "|"
    return [head, rule, *(line for _, line in sorted(rows))]


def _balance(content: dict[str, Any]) -> list[str]:
    groups = {name: [r["lowest_loss"] for r in runs] for name, runs in _by_method(content).items()}
    rows = balance_rows(groups)
    if not rows:
        return []
    return [
        "",
        "Gradients at the epoch of the lowest mean validation loss (RGB, equations 3 to 6; means over"
        " seeds): of the rows that the method combines, after it has turned or cut them, and `raw MER`"
        " of the task gradients. `turn`: the degrees by which every row would turn for that proximity."
        " `delta_m` and loss are of the validation split.",
        "",
        f"| {' | '.join(COLUMNS)} |",
        "|---" * len(COLUMNS) + "|",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def _mean_ranks(behind: np.ndarray, tasks: list[str]) -> np.ndarray:
    """Mean ranks, `[methods + 1, 3]`; single-task training is the last row.

    The columns are: flat without single-task training, flat with it, nested with it. A smaller
    percentage behind is better for every metric. Single-task training is 0 % behind itself.
    """
    behind = behind.round(9)  # so that rounding errors do not break ties
    lower = np.zeros(len(tasks), dtype=bool)
    joined = np.vstack([behind, np.zeros(len(tasks))])
    alone = np.append(mean_ranks(behind, lower), np.nan)
    return np.stack([alone, mean_ranks(joined, lower), mean_ranks(joined, lower, tasks)], axis=1)


def _spread(values: Sequence[float], digits: int) -> str:
    mean = f"{np.mean(values):.{digits}f}"
    if len(values) < 2:
        return mean
    return f"{mean} ± {np.std(values, ddof=1) / len(values) ** 0.5:.{digits}f}"


def _facts(content: dict[str, Any]) -> list[str]:
    facts = content["manifest"]
    versions = ", ".join(
        f"{k} {v}"
        for k, v in facts["versions"].items()
        if k in ("torch", "numpy", "scipy", DISTRIBUTION)
    )
    seconds = [run["wall_s"] for run in content["runs"]]
    updates = content["runs"][0]["updates"]
    rules = ", ".join(sorted({run["selected_by"] for run in content["runs"]}))
    return [
        f"{len(seconds)} runs of {updates} updates, {np.median(seconds):.1f} s each (median, with"
        f" whatever else ran on the machine), epoch selected by {rules}. {facts['created'][:10]},"
        f" {facts['cpus']} CPUs, {facts['platform']}, Python {facts['python']}, {versions},"
        f" {_commits(content)}."
    ]


def _commits(content: dict[str, Any]) -> str:
    """The commits of the runs, as one phrase."""
    shared = content["manifest"]["git"]
    found = [run["manifest"].get("git", shared) for run in content["runs"]]
    names = {
        "unknown" if git is None else git["commit"][:9] + (" with changes" if git["dirty"] else "")
        for git in found
    }
    return f"commit {', '.join(sorted(names))}"


def _picture(contents: dict[str, dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    height = 0.24 * max(len(_by_method(content)) for content in contents.values()) + 1.4
    figure, panels = plt.subplots(
        1, len(contents), figsize=(6.5 * len(contents), height), layout="constrained", squeeze=False
    )
    for axes, (name, content) in zip(panels[0], contents.items(), strict=True):
        groups = sorted(
            _by_method(content).items(),
            key=lambda item: -float(np.mean([r["test"][0]["delta_m"] for r in item[1]])),
        )
        for row, (_, runs) in enumerate(groups):
            for (task, metric, _), marker, colour in zip(
                _columns(content),
                "osD^",
                ("#0072B2", "#E69F00", "#009E73", "#CC79A7"),
                strict=False,
            ):
                behind = [run["test"][0]["drops"][task][metric] for run in runs]
                label = f"{task} {metric}" if row == 0 else None
                axes.plot(
                    behind, [row] * len(behind), marker, color=colour, ms=4, alpha=0.7, label=label
                )
            delta = [run["test"][0]["delta_m"] for run in runs]
            axes.plot(np.mean(delta), row, "|", color="black", ms=13, mew=2,
                      label="delta_m, mean of seeds" if row == 0 else None)  # fmt: skip
        axes.set_yticks(range(len(groups)), [method for method, _ in groups])
        axes.axvline(0, color="grey", lw=0.8)
        axes.set_xscale("symlog", linthresh=10)
        ticks = [t for t in (-30, -10, -5, 0, 5, 10, 30, 100, 300) if t >= axes.get_xlim()[0]]
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.set(title=name, xlabel="percent behind single-task training (seeds as dots)")
        axes.grid(axis="x", alpha=0.3)
        axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.07), ncol=3)
    figure.savefig(path, dpi=100)
    plt.close(figure)
