"""Supervised multi-task problems, models and training."""
