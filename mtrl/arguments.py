"""Parse the arguments of the `mtrl` command; explain wrong ones."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mtrl.errors import suggest

FindKey = Callable[[argparse.Namespace, str], str | None]


@dataclass(frozen=True)
class Verb:
    """A verb of the command.

    Attributes:
        help: description in one line.
        add_arguments: adds the verb's arguments to its parser.
        run: runs the verb with the parsed options; returns the exit code.
    """

    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def parse(
    arguments: Sequence[str], verbs: Mapping[str, Verb], find_key: FindKey
) -> argparse.Namespace:
    """Parse the options of a verb; `verb` is its name, or None without a verb.

    Wrong arguments end the program with exit code 2 and the usage of the verb.

    Args:
        arguments: the command line, without the program's name.
        verbs: all verbs, by name.
        find_key: finds the configuration key of the verb that a name means, or None.
    """
    parser = make_parser(verbs)
    verb = next((word for word in arguments if not word.startswith("-")), None)
    if verb is not None and verb not in verbs:
        parser.error(f"there is no verb {verb!r}.{suggest(verb, verbs)}")
    options, rest = parser.parse_known_args(arguments)
    if options.verb is None:
        return options
    if "overrides" in options:  # argparse takes only those before the first option
        words = [word for word in rest if not word.startswith("-")]
        rest = [word for word in rest if word.startswith("-")]
        options.overrides = join_lists([*options.overrides, *words])
        if rest:
            options.parser.error(_about_flag(options, rest[0], arguments, find_key))
    if rest:
        options.parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return options


def make_parser(verbs: Mapping[str, Verb]) -> argparse.ArgumentParser:
    """The parser of the whole command."""
    from mtrl import __version__

    parser = argparse.ArgumentParser(
        prog="mtrl",
        description="Multi-task reinforcement learning with balanced task gradients.",
        epilog="`mtrl VERB --help` explains a verb.",
    )
    parser.add_argument("--version", action="version", version=f"mtrl {__version__}")
    parsers = parser.add_subparsers(title="verbs", metavar="VERB", dest="verb")
    for name, verb in verbs.items():
        own = parsers.add_parser(name, help=verb.help, description=verb.help, allow_abbrev=False)
        own.set_defaults(parser=own)
        verb.add_arguments(own)
    return parser


def join_lists(words: Sequence[str]) -> list[str]:
    """Join lists that the shell has split at blanks: `env.tasks=[a,` and `b]`."""
    joined: list[str] = []
    for word in words:
        if joined and "=" in joined[-1] and _open_brackets(joined[-1]) > 0:
            joined[-1] += f" {word}"
        else:
            joined.append(word)
    return joined


def _open_brackets(text: str) -> int:
    return sum(text.count(c) for c in "[{") - sum(text.count(c) for c in "]}")


def _about_flag(
    options: argparse.Namespace, flag: str, arguments: Sequence[str], find_key: FindKey
) -> str:
    """Explain that keys are written `seed=1`, not `--seed=1` or `--seed 1` as in other programs."""
    name, separator, value = flag.lstrip("-").partition("=")
    key = find_key(options, name.replace("-", "_"))
    known = suggest(f"--{name}", options.parser._option_string_actions)
    if key is None and known:
        return f"unrecognized argument {flag!r}.{known}"
    if not separator:
        after = arguments[list(arguments).index(flag) + 1 :]
        value = after[0] if after and "=" not in after[0] and after[0][0] != "-" else "VALUE"
    return (
        f"unrecognized argument {flag!r}. Keys of the configuration are written without dashes:"
        f" {key or name.replace('-', '_')}={value}"
    )


def add_train(parser: argparse.ArgumentParser) -> None:
    """Arguments of `mtrl train`."""
    _add_config_arguments(parser, "sac.batch_size=64")
    parser.add_argument("--resume", metavar="RUN", help="continue an interrupted run")
    parser.add_argument("--init-from", metavar="RUN", help="start from another run's networks")


def add_supervised(parser: argparse.ArgumentParser) -> None:
    """Arguments of `mtrl supervised`."""
    _add_config_arguments(parser, "recipe.epochs=20")
    parser.add_argument("--resume", metavar="RUN", help="continue an interrupted run")


def add_sweep(parser: argparse.ArgumentParser) -> None:
    """Arguments of `mtrl sweep`."""
    _add_config_arguments(parser, "sac.batch_size=64")
    parser.add_argument("--methods", required=True, metavar="A,B", help="names, or all")
    parser.add_argument("--seeds", required=True, metavar="0..4", help="or 0,3,7")
    parser.add_argument(
        "--grid",
        action="append",
        default=[],
        metavar="KEY=[V1,V2]",
        help="values of a key; may be repeated, and every combination is trained",
    )
    parser.add_argument("--supervised", action="store_true", help="runs of `mtrl supervised`")
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="runs at a time (what the CPUs allow)"
    )
    parser.add_argument("--directory", metavar="DIR", help="of the sweep (runs/sweeps/NAME)")


def add_eval(parser: argparse.ArgumentParser) -> None:
    """Arguments of `mtrl eval`."""
    parser.add_argument("path", metavar="RUN", help="its directory, or its name below runs/")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def add_runs(parser: argparse.ArgumentParser) -> None:
    """Arguments of `mtrl runs`."""
    parser.add_argument("directory", nargs="?", default="runs", help="folder of runs (runs)")
    parser.add_argument("--json", action="store_true", help="print a JSON list")


def add_methods(parser: argparse.ArgumentParser) -> None:
    """Arguments of `mtrl methods`."""
    parser.add_argument("--json", action="store_true", help="print a JSON list")


def add_config(parser: argparse.ArgumentParser) -> None:
    """Arguments of `mtrl config`."""
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True)
    text = "show the resolved values and their origins"
    show = verbs.add_parser("show", help=text, description=text, allow_abbrev=False)
    show.set_defaults(parser=show)
    _add_config_arguments(show, "sac.batch_size=64")
    show.add_argument("--supervised", action="store_true", help="show those of `mtrl supervised`")
    show.add_argument("--json", action="store_true", help="print one JSON object")


def add_verify_env(parser: argparse.ArgumentParser) -> None:
    """Arguments of `mtrl verify-env`."""
    parser.add_argument(
        "--tasks", default="mt10", help="mt10, mt25, mt50, or names of tasks separated by commas"
    )
    parser.add_argument("--steps", type=int, default=2000, help="steps per task")
    parser.add_argument("--processes", type=int, default=1, help="that share the tasks (1)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def add_bench(parser: argparse.ArgumentParser) -> None:
    """Arguments of `mtrl bench`; those of a bench are its own."""
    from mtrl.bench import ALL, BENCHES

    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    names = [f"  {name:8} {bench.text}" for name, bench in BENCHES.items()]
    names.append(f"  {ALL:8} all that results/speed.md shows, one after another")
    parser.epilog = "\n".join(["benches:", *names, "", "`mtrl bench NAME --help` explains one."])
    parser.add_argument("name", metavar="NAME", help="of the bench")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="of the bench")


def add_results(parser: argparse.ArgumentParser) -> None:
    """Arguments of `mtrl results`."""
    verbs = parser.add_subparsers(title="verbs", metavar="VERB", required=True, dest="action")
    for action, text in (
        ("add", "copy what a page needs out of run directories"),
        ("page", "write FOLDER.md from the files in a folder"),
        ("speed", "write FOLDER.md from what benches printed (results/speed)"),
    ):
        own = verbs.add_parser(action, help=text, description=text, allow_abbrev=False)
        own.set_defaults(parser=own)
        own.add_argument("folder", metavar="FOLDER", help="of small files, such as results/digits")
        if action == "add":
            own.add_argument("runs", nargs="+", metavar="RUN", help="directories of finished runs")


def add_none(parser: argparse.ArgumentParser) -> None:
    """A verb without arguments."""
    del parser


def _add_config_arguments(parser: argparse.ArgumentParser, example: str) -> None:
    parser.add_argument(
        "-c",
        "--config",
        action="append",
        default=[],
        metavar="FILE",
        help="config file or preset (mt10/quick); a later one overrides an earlier one",
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help=f"for example {example}; `mtrl config show -c FILE` lists all keys",
    )
