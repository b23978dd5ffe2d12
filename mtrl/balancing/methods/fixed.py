"""Fixed weights: given, or learned by another run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from mtrl.balancing.base import Needs, Weighting
from mtrl.balancing.signals import Signals


class Fixed(Weighting):
    """Constant weights: the control for methods that adapt theirs.

    Source: "Uniform Loss vs. Specialized Optimization: A Comparative Analysis in Multi-Task
    Learning", Gama and Grassi, 2025, https://arxiv.org/abs/2505.10347, section 3.5: the weights of
    a run are averaged per epoch, smoothed by an exponential mean with decay 0.9, and the last value
    is used for a new run.
    Differs from it: weights are normalised to sum to m unless asked otherwise, because those of
    Nash-MTL, for instance, hold the inverse scale of the gradients.
    State: weights `[m]`. Scale: weights sum to m by default. Cost: one plain backward pass.

    Args:
        weights: one number for each task.
        log: instead, the `metrics.jsonl` of another run; each record is a mean over its interval.
        key: name of the weights in the log, `[m]` or one entry `key/<task>` for each task:
            `balance/weight` of a supervised run, `balance/weight/critic` of RL.
        decay: of the exponential mean over the records.
        normalise: scale the weights to sum to m.
    """

    needs = Needs.NOTHING
    weighs_losses = True
    example_options: ClassVar[dict[str, Any]] = {"weights": [1.0, 1.0]}
    informed = "weights"
    paper = (
        'after "Uniform Loss vs. Specialized Optimization: A Comparative Analysis in '
        'Multi-Task Learning", Gama and Grassi, 2025, https://arxiv.org/abs/2505.10347'
    )
    scale = "weights sum to m"
    checked_against = "by hand, authors' code"
    differs = "normalised by default"

    def __init__(
        self,
        num_tasks: int,
        num_shared: int,
        *,
        seed: int = 0,
        weights: Sequence[float] | None = None,
        log: str | None = None,
        key: str = "weights",
        decay: float = 0.9,
        normalise: bool = True,
    ) -> None:
        super().__init__(num_tasks, num_shared, seed=seed)
        if not 0 <= decay < 1:
            raise ValueError(f"`decay` should be in [0, 1). Found {decay}.")
        values = _read(weights, log, key, decay)
        if len(values) != num_tasks or not torch.isfinite(values).all() or (values < 0).any():
            raise ValueError(
                f"Fixed weights should be {num_tasks} finite numbers, none negative. Found"
                f" {values.tolist()}. Give one weight for each task."
            )
        if normalise:
            values = values * (num_tasks / values.sum().clamp_min(1e-300))
        self.fixed: Tensor
        self.register_buffer("fixed", values)

    @classmethod
    def example_tasks(cls, options: dict[str, object]) -> int:
        """As many tasks as there are weights."""
        return len(_read(**{k: options.get(k, v) for k, v in _DEFAULTS.items()}))  # type: ignore[arg-type]

    def task_weights(self, signals: Signals) -> Tensor:
        """The weights, `[m]`."""
        return self.fixed.clone()


_DEFAULTS: dict[str, object] = {"weights": None, "log": None, "key": "weights", "decay": 0.9}


def _read(weights: Sequence[float] | None, log: str | None, key: str, decay: float) -> Tensor:
    if (weights is None) == (log is None):
        raise ValueError(
            "The method `fixed` takes either `weights` or `log`. Found"
            f" weights={weights!r}, log={log!r}. Give one of them."
        )
    if weights is not None:
        return torch.tensor([float(w) for w in weights], dtype=torch.float64)
    return smoothed_weights(Path(str(log)), key, decay)


def smoothed_weights(log: Path, key: str, decay: float = 0.9) -> Tensor:
    """The last exponential mean of the weights in a run's log, `[m]` float64.

    Raises:
        ValueError: no such file, or no record with finite weights in it.
    """
    if not log.is_file():
        raise ValueError(f"`log` should be the metrics.jsonl of a run. Found no file {log}.")
    mean: Tensor | None = None
    with log.open(encoding="utf-8") as lines:
        for line in lines:
            values = _weights_of(json.loads(line), key) if line.strip() else None
            if values is None or not torch.isfinite(values).all():
                continue
            mean = values if mean is None else decay * mean + (1.0 - decay) * values
    if mean is None:
        raise ValueError(f"`log` should hold records with {key!r}. Found none in {log}.")
    return mean


def _weights_of(record: dict[str, object], key: str) -> Tensor | None:
    found = record.get(key)
    if isinstance(found, list):
        return torch.tensor([float(w) for w in found], dtype=torch.float64)
    entries = [value for name, value in record.items() if name.startswith(f"{key}/")]
    if not entries or not all(isinstance(value, int | float) for value in entries):
        return None
    return torch.tensor(entries, dtype=torch.float64)
