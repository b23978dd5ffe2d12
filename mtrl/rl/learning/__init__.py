"""What a learner runs: replay, losses, SAC, CUDA graphs, the copy of the policy's weights."""
