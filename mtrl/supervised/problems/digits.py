"""Pairs of scikit-learn's handwritten digits: real data without a download.

The 1797 digits of 8x8 pixels (UCI, Alpaydin and Kaynak) are combined as in Multi-MNIST. `CL_RR` shows
differences between balancing methods, because the gradients of the reconstruction are tens of times
smaller. On `CL_CR`, two tasks of one kind, methods hardly differ. In `RL_RR` the tasks interfere.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from mtrl.extras import install_command
from mtrl.supervised.problem import Model, Problem, Recipe, Split, TensorData, TrunkAndHeads
from mtrl.supervised.problems.pairs import overlay, pair_data, pair_head, tasks_of

_SHARES = {"train": (0.0, 0.7), "val": (0.7, 0.85), "test": (0.85, 1.0)}
_OFFSET, _CANVAS, _PIXELS = 2, 10, 64


class Digits(Problem):
    """Classify and reconstruct two overlapping digits.

    The digits are split 70/15/15 by a fixed seed, and pairs are drawn within each part. So no digit of
    the test split occurs in training. All runs use the same pairs.

    Args:
        variant: tasks, joined by `_`. CL and CR classify the left or right digit, RL and RR reconstruct
            it.
        pairs: number of training pairs; validation and test have a quarter of it.
    """

    recipe = Recipe(epochs=16, batch_size=128, learning_rate=2e-3)
    baseline_source = "own single-task runs, mean of seeds 0 to 4: results/digits_stl/"
    _BASELINE: ClassVar = {
        "CL": {"accuracy": 0.9028},
        "CR": {"accuracy": 0.9204},
        "RL": {"mse": 0.028003},
        "RR": {"mse": 0.023212},
    }

    def __init__(self, *, variant: str = "CL_RR", pairs: int = 4000) -> None:
        self.tasks = tasks_of(variant)
        if pairs < 4:
            raise ValueError(f"`pairs` should be at least 4. Found {pairs}.")
        self.variant, self.pairs = variant, pairs
        self.baseline = self._BASELINE

    def data(self, split: Split, seed: int) -> TensorData:
        """Pairs `[N, 1, 10, 10]` of digits with pixels in [0, 1]; the seed is not used."""
        try:
            from sklearn.datasets import load_digits
        except ImportError as error:
            raise ValueError(
                f"The problem 'digits' needs scikit-learn. Repair: {install_command('supervised')}"
            ) from error
        pixels, classes = load_digits(return_X_y=True)
        images = torch.tensor(pixels, dtype=torch.float32).view(-1, 8, 8) / 16.0
        labels = torch.tensor(classes)
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
        first, last = (round(share * len(images)) for share in _SHARES[split])
        part = order[first:last]
        count = self.pairs if split == "train" else self.pairs // 4
        draw = torch.Generator().manual_seed(first + 1)
        left, right = part[torch.randint(len(part), (2, count), generator=draw)]
        inputs = overlay(images[left], images[right], _OFFSET, _CANVAS)[:, None]
        return pair_data(
            inputs, images[left], images[right], (labels[left], labels[right]), self.variant
        )

    def model(self, copy: int = 0) -> Model:
        """A trunk of two convolutions with 32 features, and heads of two layers."""
        trunk = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(16 * 25, 32),
            nn.ReLU(),
        )
        hidden = {"C": 32, "R": 64}
        return TrunkAndHeads(trunk, [pair_head(t, 32, hidden, _PIXELS) for t in self.tasks])
