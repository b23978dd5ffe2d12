"""What a worker runs: environments, the policy that acts, fragments, evaluation. No optimiser."""
