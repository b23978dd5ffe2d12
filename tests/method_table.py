"""The table of methods in the balancing package's README, made from the classes.

python -m tests.method_table    # writes it again
"""

from __future__ import annotations

import re
from pathlib import Path

import mtrl.balancing
from mtrl.balancing import METHODS

README = Path(mtrl.balancing.__file__).with_name("README.md")
_HEAD = """\
| method | paper | reads | state | scale | checked against | where it differs |
|---|---|---|---|---|---|---|
"""
_TABLE = re.compile(rf"{re.escape(_HEAD)}(?:\|.*\n)*")


def table() -> str:
    """A row for each method, in the order of `METHODS`."""
    return _HEAD + "".join(f"| {' | '.join(_cells(name))} |\n" for name in METHODS)


def with_table(page: str) -> str:
    """A page with its table of methods as the classes have it now."""
    changed, count = _TABLE.subn(lambda _: table(), page)
    assert count == 1, f"{README} should hold one table of methods. Found {count}."
    return changed


def _cells(name: str) -> list[str]:
    method = METHODS[name]
    # `"Title", Authors, link` becomes a link.
    paper = re.sub(r'"(.+?)", (.+?), (https://\S+?)(?=;|$)', r"[\1](\3), \2", method.paper)
    reads = ", ".join(str(flag.name).lower() for flag in method.needs) or "nothing"
    reads += " (L > 0)" * method.positive_losses + " (host)" * (not method.capturable)
    found = re.search(r"State: (.+?)\.(?: [A-Z]|$)", " ".join(str(method.__doc__).split()))
    assert found, f"The docstring of {method.__name__} should say `State: ...`."
    facts = [paper, reads, found[1], method.scale, method.checked_against, method.differs]
    return [f"`{name}`", *(fact.replace("|", r"\|") for fact in facts)]


if __name__ == "__main__":
    README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
