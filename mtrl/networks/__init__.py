"""Plain torch modules: stacked trunks, per-task heads, and the squashed Gaussian.

This room knows torch only.
"""

from mtrl.networks.multi_head import TaskNetwork
from mtrl.networks.squashed_gaussian import sample_squashed, squash_log_std

__all__ = ["TaskNetwork", "sample_squashed", "squash_log_std"]
