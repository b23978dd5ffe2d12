"""Run the jobs of a sweep as processes, several at a time, until all have ended or a signal comes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Mapping, Sequence

from mtrl.errors import INTERRUPTED
from mtrl.experiments.job_folder import Command, JobFolder
from mtrl.experiments.sweep_progress import SweepProgress
from mtrl.runs.interrupt import Interrupt
from mtrl.runs.progress import View

_LOOK_S = 0.2  # between two looks at the processes
_SHOW_S = 1.0  # between two looks at the runs


class Pool:
    """Starts jobs, in their order, and waits for them.

    Finished jobs are skipped. A job whose process an earlier sweep left behind is waited for. The others
    begin, or go on with their run. A job that fails is not tried again here.

    Args:
        title: shown.
        folders: of all jobs.
        slots: number of jobs at a time.
        command: see :data:`Command`.
        view: shows progress.
        interrupt: the signals received.
        environment: variables for the processes, beside those of this one.

    Attributes:
        failed: name of each job that failed -> the last line of its log.
    """

    def __init__(
        self,
        title: str,
        folders: Sequence[JobFolder],
        slots: int,
        command: Command,
        view: View,
        interrupt: Interrupt,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.slots = slots
        self.command = command
        self.view = view
        self.interrupt = interrupt
        self.environment = environment or {}
        self.failed: dict[str, str] = {}
        self._waiting: deque[JobFolder] = deque()
        # A job that this pool has not started has no process here.
        self._running: dict[str, tuple[JobFolder, subprocess.Popen[bytes] | None]] = {}
        self._told: set[str] = set()  # the jobs that got the signal
        for folder in folders:
            if folder.lives():
                self._adopt(folder)
            elif folder.status()["state"] != "done":
                self._waiting.append(folder)
        self._progress = SweepProgress(title, folders)

    def run(self) -> None:
        """Run all jobs to their ends. After a signal, have them save, and start no more."""
        shown = 0.0
        while True:
            self._take_ended()
            if self.interrupt.signal is None:
                self._start()
            else:
                self._stop()
            if not self._running:
                break
            if time.monotonic() - shown >= _SHOW_S:
                shown = time.monotonic()
                self.view.update(self._progress.look(list(self._running), len(self.failed)))
            time.sleep(_LOOK_S)
        self.view.update(self._progress.look([], len(self.failed)))

    def _start(self) -> None:
        while self._waiting and len(self._running) < self.slots:
            folder = self._waiting.popleft()
            process = folder.start(self.command, self.environment)
            if process is None:
                self._adopt(folder)
            else:
                self._running[folder.name] = (folder, process)
                self.view.message(f"{folder.name}: started, output in {folder.log}")

    def _adopt(self, folder: JobFolder) -> None:
        self._running[folder.name] = (folder, None)
        self.view.message(f"{folder.name}: its process runs already; waiting for it")

    def _take_ended(self) -> None:
        for name, (folder, process) in list(self._running.items()):
            if process is None:
                ended, code = not folder.lives(), None
            else:
                code = process.poll()
                ended = code is not None
            if ended:
                del self._running[name]
                self._on_end(folder, code)

    def _on_end(self, folder: JobFolder, code: int | None) -> None:
        """Note how a job ended.

        Args:
            folder: of the job.
            code: exit code of its process; None if an earlier sweep started it.
        """
        state = folder.status()["state"]
        if state == "done":
            self.view.message(f"{folder.name}: done")
        elif code == INTERRUPTED or folder.name in self._told:
            self.view.message(f"{folder.name}: interrupted")
        elif code is None and state != "failed":
            self._waiting.appendleft(folder)  # its process was killed; ours goes on
        else:
            self.failed[folder.name] = folder.last_line()
            self.view.message(f"{folder.name}: failed. {folder.last_line()}")

    def _stop(self) -> None:
        """Have every process save and end; each gets the signal once, as a second one would kill it."""
        for name, (folder, process) in self._running.items():
            pid = folder.pid() if process is None else process.pid
            if pid is not None and name not in self._told:
                self._told.add(name)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
