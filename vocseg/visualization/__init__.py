"""Drawings and tables."""
