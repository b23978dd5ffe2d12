"""RI-PCGrad: PCGrad with the projected gradients rescaled."""

from __future__ import annotations

import torch
from torch import Tensor

from mtrl.balancing.gramian import cosines
from mtrl.balancing.methods.pcgrad import PCGrad


class RIPCGrad(PCGrad):
    """PCGrad, with every projected gradient brought back to its original norm before the sum.

    Source: our reading of one sentence about RI-PCGrad in "Preserving Gradient Harmony: A
    Rotation-Based Gradient Balancing for Multi-Task Conflict Remedy", OpenReview, 2025,
    https://openreview.net/forum?id=l0QAezg8HX (a rescaling step keeps the information on magnitudes
    after the projection); no formula or code is public, so no fidelity to the original is claimed.
    Differs: unknown. A gradient that projection leaves without length stays zero.
    State: a counter. Scale: each term has the norm of its gradient; J -> s J gives d -> s d.
    Cost: the Gramian, O(m^3) in m steps.
    """

    paper = (
        'our reading of its mention in "Preserving Gradient Harmony: A Rotation-Based '
        'Gradient Balancing for Multi-Task Conflict Remedy", OpenReview, 2025, '
        "https://openreview.net/forum?id=l0QAezg8HX"
    )
    scale = "norms of rows kept"
    checked_against = "by hand"
    differs = "our reading: no formula is public"

    def rescaled(self, rows: Tensor, gramian: Tensor) -> Tensor:
        """The projected rows with length 1, or 0 where projection left nothing."""
        length = ((rows @ cosines(gramian)) * rows).sum(1).clamp_min(0.0).sqrt()
        # Below the root of rounding a length is noise, and so is its direction.
        scale = torch.where(length > 1e-7, 1.0 / length.clamp_min(1e-300), 0.0)
        return rows * scale[:, None]
