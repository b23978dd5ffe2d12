"""RI-PCGrad: PCGrad with the projected gradients rescaled; no paper describes it."""

from __future__ import annotations

import torch
from torch import Tensor

from mtrl.balancing.gramian import cosines
from mtrl.balancing.methods.pcgrad import PCGrad


class RIPCGrad(PCGrad):
    """PCGrad, but every projected gradient is scaled to its original norm before the sum.

    Source: our reading of one sentence about RI-PCGrad in "Preserving Gradient Harmony: A
    Rotation-Based Gradient Balancing for Multi-Task Conflict Remedy", OpenReview, 2025,
    https://openreview.net/forum?id=l0QAezg8HX (a rescaling step keeps the information on magnitudes
    after the projection). No formula or code is public, so it may differ from the original.
    A gradient that the projection makes zero stays zero.
    State: a counter. Scale: each term has the norm of its gradient; J -> s J gives d -> s d.
    Cost: the Gramian, O(m^3) in m steps.
    """

    paper = (
        'our reading of its mention in "Preserving Gradient Harmony: A Rotation-Based '
        'Gradient Balancing for Multi-Task Conflict Remedy", OpenReview, 2025, '
        "https://openreview.net/forum?id=l0QAezg8HX"
    )
    scale = "each row keeps its norm"
    checked_against = "by hand"
    differs = "unknown: no formula is public"

    def rescaled(self, rows: Tensor, gramian: Tensor) -> Tensor:
        """The projected rows with length 1, or 0 if the projection made them zero."""
        length = ((rows @ cosines(gramian)) * rows).sum(1).clamp_min(0.0).sqrt()
        # A length below the square root of the rounding error has no reliable direction.
        scale = torch.where(length > 1e-7, 1.0 / length.clamp_min(1e-300), 0.0)
        return rows * scale[:, None]
