"""How far a sweep is: one table of the jobs that run, from the status files of their runs."""

from __future__ import annotations

import time
from collections.abc import Sequence

from mtrl.experiments.job_folder import JobFolder
from mtrl.runs.progress import Column, Progress


class SweepProgress:
    """Reads the runs of a sweep and sums up.

    Args:
        title: shown.
        folders: of all jobs.
    """

    def __init__(self, title: str, folders: Sequence[JobFolder]) -> None:
        self.title = title
        self.folders = folders
        self._start = time.monotonic()
        self._shares = {folder.name: _share(folder) for folder in folders}
        self._at_start = sum(self._shares.values())

    def look(self, running: Sequence[str], failed: int) -> Progress:
        """The state of the sweep now.

        Args:
            running: names of the jobs that run.
            failed: number of jobs that failed.
        """
        # A job that is done cannot change.
        for folder in self.folders:
            if self._shares[folder.name] < 1.0:
                self._shares[folder.name] = _share(folder)
        total, done = len(self.folders), sum(share == 1.0 for share in self._shares.values())
        worked = sum(self._shares.values()) - self._at_start
        to_do = total - failed - sum(self._shares.values())
        seconds = time.monotonic() - self._start
        return Progress(
            title=self.title,
            done=sum(self._shares.values()) / total,
            seconds=seconds,
            seconds_left=seconds * max(0.0, to_do) / worked if worked > 0 else None,
            tasks=list(running),
            columns=[Column("done", [self._shares[name] for name in running], ".0%", bar=True)],
            facts={
                "done": f"{done} of {total}",
                "running": str(len(running)),
                "failed": str(failed),
                "waiting": str(max(0, total - done - failed - len(running))),
            },
            heading="job",
        )


def _share(folder: JobFolder) -> float:
    return folder.job.needs.share_done(folder.status())
