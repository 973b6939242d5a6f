"""Helpers that are independent of the task."""
