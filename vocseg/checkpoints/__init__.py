"""Checkpoints, weights, run directories and resume."""
