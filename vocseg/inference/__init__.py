"""Inference beyond one forward pass."""
