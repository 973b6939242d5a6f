"""Metrics: pure functions and classes on torch and numpy."""
