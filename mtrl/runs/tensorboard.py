"""TensorBoard event files with the records of a run and its configuration."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

# Metrics that TensorBoard shows beside the hyperparameters, if a run has them.
_OUTCOMES = ("final/mean_success_rate", "val/mean_loss", "val/delta_m")


class EventFiles:
    """Writes event files. The names are those of the logs, except for groups: see :meth:`add`.

    The file is made at the first record, or at :meth:`close`.

    Args:
        folder: the run directory; its `config.yaml` is written as text and as hyperparameters.
        parts: parts of the model that have a balancer, such as `critic`.
    """

    def __init__(self, folder: Path, *, parts: Sequence[str] = ()) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._folder = folder
        self._parts = frozenset(parts)
        self._make = SummaryWriter
        self._purge_step: int | None = None

    def resume(self, step: int) -> None:
        """Go on with a run: drop what earlier event files hold from this step on."""
        self._purge_step = step

    @functools.cached_property
    def _writer(self) -> SummaryWriter:
        writer = self._make(str(self._folder), purge_step=self._purge_step)
        config = self._folder / "config.yaml"
        if self._purge_step is None and config.is_file():
            _add_config(writer, config.read_text())
        return writer

    def add(self, record: Mapping[str, Any], step: int) -> None:
        """Add the numbers of a record at its step, or at the step that an evaluation measured.

        `balance/weight/critic/reach-v3` becomes `balance_critic/weight/reach-v3`, because TensorBoard
        groups names by their first word.
        """
        at = record.get("evaluated_at", step)
        for key, value in record.items():
            if isinstance(value, int | float) and "/" in key:
                self._writer.add_scalar(self._grouped(key), value, at)

    def close(self) -> None:
        """Close the file; a run without records has one too, with its configuration."""
        self._writer.close()

    def _grouped(self, key: str) -> str:
        words = key.split("/")
        if len(words) > 2 and words[2] in self._parts:
            group, fact, part, *rest = words
            return "/".join([f"{group}_{part}", fact, *rest])
        return key


def _add_config(writer: SummaryWriter, text: str) -> None:
    from torch.utils.tensorboard.summary import hparams

    writer.add_text("config", "\n".join(f"    {line}" for line in text.splitlines()), 0)
    values = _flat(YAML(typ="safe", pure=True).load(text) or {})
    # `SummaryWriter.add_hparams` would write them as a separate run.
    for summary in hparams(values, dict.fromkeys(_OUTCOMES, 0.0)):
        writer.file_writer.add_summary(summary)  # type: ignore[union-attr]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            plain = isinstance(value, int | float | str) and not isinstance(value, bool)
            flat[f"{prefix}{key}"] = value if plain else json.dumps(value)
    return flat
