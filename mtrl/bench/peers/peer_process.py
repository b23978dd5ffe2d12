"""Another framework in its own process: it does a turn when asked, and waits otherwise."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from mtrl.errors import ENVIRONMENT, MtrlError


class PeerError(MtrlError, RuntimeError):
    """The peer ended, or its answer is not JSON."""

    exit_code = ENVIRONMENT


class Peer:
    """Requests and answers are JSON, one a line, through the process's standard input and output.

    Args:
        command: that starts the peer's runner; `--cores` is appended.
        source: folder from which the peer's package is imported.
        cores: that it runs on.
    """

    def __init__(self, command: Sequence[str], source: Path, cores: Iterable[int]) -> None:
        self.process = subprocess.Popen(
            [*command, "--cores", ",".join(map(str, sorted(cores)))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env={
                **os.environ,
                "PYTHONPATH": str(source),  # our own must not be found there
                "PYTHONWARNINGS": "ignore",
                "JAX_PLATFORMS": "cpu",
                "OMP_NUM_THREADS": "1",
                "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
            },
        )

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the runner's input, which ends it."""
        del kind, error, trace
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # it ended before reading the last request
            self.process.stdin.close()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def ask(self, do: str, **options: Any) -> dict[str, Any]:
        """The answer to a request, however long it takes.

        Raises:
            PeerError: there is no answer.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps({"do": do, **options}) + "\n")
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise PeerError(
                f"The peer should answer `{do}`. It ended with status {self.process.wait()}; what it"
                " printed is above. Does its environment have the versions that it asks for?"
            )
        try:
            return json.loads(answer)
        except json.JSONDecodeError as error:
            raise PeerError(f"The peer should answer `{do}` in JSON. Found {answer!r}.") from error
