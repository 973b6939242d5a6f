"""Parsing and validation of flags."""
