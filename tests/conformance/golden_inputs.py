"""Frozen inputs of the recorded conformance numbers, by formula from a seed.

`record` feeds them to the authors' code and `test_goldens` to ours. They come from
`numpy.random.RandomState`, whose streams numpy keeps frozen; each record also holds a checksum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """One sequence of steps.

    Attributes:
        kind: `random`, norms that differ by a few times; `conflict`, rows that nearly cancel;
            `aligned`, rows near one; `alternating`, equal norms at even steps and unequal at odd.
        tasks: m.
        steps: of the sequence.
        parameters: n.
        seed: of the stream.
    """

    kind: str
    tasks: int
    steps: int
    parameters: int = 16
    seed: int = 0

    @property
    def name(self) -> str:
        """A label for a record."""
        return f"{self.kind}-{self.tasks}"

    def jacobians(self) -> Array:
        """`[steps, m, n]`: a fixed part and a fresh part at each step."""
        rng = self._stream(1)
        m, n = self.tasks, self.parameters
        rows = rng.standard_normal((m, n)) + 0.3 * rng.standard_normal((self.steps, m, n))
        if self.kind == "random":
            rows = rows * np.exp(0.7 * rng.standard_normal((m, 1)))
        elif self.kind == "conflict":
            rows[:, -1] = 0.5 * rows[:, -1] - rows[:, :-1].sum(1)
        elif self.kind == "aligned":
            rows = rows[:, :1] + 0.3 * rows
        elif self.kind == "alternating":
            rows = rows / np.linalg.norm(rows, axis=2, keepdims=True)
            spread = np.exp(0.8 * rng.standard_normal((self.steps, m, 1)))
            odd = (np.arange(self.steps) % 2 == 1)[:, None, None]
            rows = rows * np.where(odd, spread, spread**0.02)
        else:
            raise ValueError(f"Unknown kind {self.kind!r}.")
        return rows

    def losses(self) -> Array:
        """`[steps, m]`, positive."""
        rng = self._stream(2)
        first = np.exp(0.6 * rng.standard_normal(self.tasks))
        pace = rng.uniform(0.90, 1.0, self.tasks) ** np.arange(self.steps)[:, None]
        return first * pace * np.exp(0.05 * rng.standard_normal((self.steps, self.tasks)))

    def losses_after(self) -> Array:
        """`[steps, m]`, on the same batch after the step."""
        return self.losses() * self._stream(3).uniform(0.85, 1.05, (self.steps, self.tasks))

    def drops(self) -> Array:
        """`[m]`: performance drop of each task in percent, higher is worse."""
        return self._stream(4).uniform(-10.0, 40.0, self.tasks)

    def uniforms(self) -> Array:
        """`[steps, n]` in (0, 1), for methods that draw one number per coordinate."""
        return self._stream(5).uniform(0.0, 1.0, (self.steps, self.parameters))

    def normals(self) -> Array:
        """`[steps, m]`, for methods that draw one number per task."""
        return self._stream(6).standard_normal((self.steps, self.tasks))

    def orders(self) -> NDArray[np.int64]:
        """`[steps, m, m]`: row i is the order in which task i meets all tasks."""
        return self._stream(7).uniform(size=(self.steps, self.tasks, self.tasks)).argsort(2)

    def checksum(self) -> float:
        """A number that changes with the inputs."""
        parts = (self.jacobians(), self.losses(), self.losses_after(), self.drops())
        return float(sum(np.cos(np.arange(part.size)) @ part.ravel() for part in parts))

    def _stream(self, use: int) -> np.random.RandomState:
        kinds = ("random", "conflict", "aligned", "alternating")
        return np.random.RandomState([self.seed, use, kinds.index(self.kind), self.tasks])
