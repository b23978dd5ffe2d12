"""Event files: the records of a run as TensorBoard shows them, with its configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

# What TensorBoard's page of hyperparameters shows beside them, where a run has it.
_OUTCOMES = ("final/mean_success_rate", "val/mean_loss", "val/delta_m")


class EventFiles:
    """Writes event files. Names differ from those of the logs in one thing: see :meth:`add`.

    Args:
        folder: the run directory; its `config.yaml` becomes the text and the hyperparameters.
        parts: of the model that have a balancer each.
        purge_step: of a run that goes on: drop what event files hold from this step on.
    """

    def __init__(
        self, folder: Path, *, parts: Sequence[str] = (), purge_step: int | None = None
    ) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._parts = frozenset(parts)
        self._writer = SummaryWriter(str(folder), purge_step=purge_step)
        config = folder / "config.yaml"
        if purge_step is None and config.is_file():
            self._add_config(config.read_text())

    def add(self, record: Mapping[str, Any], step: int) -> None:
        """Add the numbers of a record, at its own step, or at the one that an evaluation measured.

        `balance/weight/critic/reach-v3` becomes `balance_critic/weight/reach-v3`: TensorBoard makes one
        group of all names that share their first word.
        """
        at = record.get("evaluated_at", step)
        for key, value in record.items():
            if isinstance(value, int | float) and "/" in key:
                self._writer.add_scalar(self._grouped(key), value, at)

    def close(self) -> None:
        """Close the files."""
        self._writer.close()

    def _grouped(self, key: str) -> str:
        words = key.split("/")
        if len(words) > 2 and words[2] in self._parts:
            group, fact, part, *rest = words
            return "/".join([f"{group}_{part}", fact, *rest])
        return key

    def _add_config(self, text: str) -> None:
        from torch.utils.tensorboard.summary import hparams

        self._writer.add_text("config", "\n".join(f"    {line}" for line in text.splitlines()), 0)
        values = _flat(YAML(typ="safe", pure=True).load(text) or {})
        # `SummaryWriter.add_hparams` would write them as a run of its own.
        for summary in hparams(values, dict.fromkeys(_OUTCOMES, 0.0)):
            self._writer.file_writer.add_summary(summary)  # type: ignore[union-attr]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            plain = isinstance(value, int | float | str) and not isinstance(value, bool)
            flat[f"{prefix}{key}"] = value if plain else json.dumps(value)
    return flat
