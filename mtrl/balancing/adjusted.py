"""Inner products of the rows that a method sums in place of the task gradients."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mtrl.balancing.gradients import TaskGradients
from mtrl.balancing.gramian import norms

_ROUNDING = 1e-14  # a squared length below this share of its terms is rounding error


@dataclass(frozen=True)
class AdjustedRows:
    """Task gradients after a method has turned, projected or cut them, and before it sums them.

    Only their directions matter; the weights that a method gives to them are left out.

    Attributes:
        gramian: inner products of the adjusted rows, `[m, m]` float64; zero for a row that the method
            made zero.
        own: product of each adjusted row with the unit gradient of its task, `[m]` float64.
    """

    gramian: Tensor
    own: Tensor

    @classmethod
    def unchanged(cls, gramian: Tensor) -> AdjustedRows:
        """Unadjusted task gradients, from their Gramian `[m, m]`."""
        return cls(gramian.double(), norms(gramian.double()))

    @classmethod
    def combined(cls, inner: Tensor, coefficients: Tensor) -> AdjustedRows:
        """Rows that are combinations of vectors with known inner products.

        Args:
            inner: inner products of the vectors, `[k, k]`. The first m vectors are the task gradients,
                each at any length. Further vectors may follow.
            coefficients: coefficients of the vectors in each row, `[m, k]`.
        """
        inner, coefficients = inner.double(), coefficients.double()
        products = coefficients @ inner
        gramian = products @ coefficients.T
        length = norms(inner)
        terms = coefficients.abs() @ length
        square = gramian.diagonal()
        left = square > _ROUNDING * terms**2
        tasks = length[: len(coefficients)]
        own = torch.where(tasks > 0, products.diagonal() / tasks.clamp_min(1e-300), 0.0)
        return cls(torch.where(left[:, None] & left[None, :], gramian, 0.0), own * left)

    @classmethod
    def of_matrix(cls, rows: Tensor, gradients: Tensor) -> AdjustedRows:
        """Rows given in coordinates, with the task gradients that they come from, both `[m, n]`."""
        inner = TaskGradients([torch.cat([gradients, rows.to(gradients.dtype)])]).gramian()
        m = len(rows)
        identity = torch.eye(2 * m, dtype=inner.dtype, device=inner.device)
        return cls.combined(inner, identity[m:])
