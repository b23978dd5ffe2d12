"""Plain torch modules: MLP trunks, per-task heads, ensembles, and the squashed Gaussian.

This room knows torch only.
"""

from mtrl.networks.multi_head import TaskEnsemble, TaskNetwork
from mtrl.networks.squashed_gaussian import sample_squashed, squash_log_std

__all__ = ["TaskEnsemble", "TaskNetwork", "sample_squashed", "squash_log_std"]
