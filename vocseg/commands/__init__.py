"""Verbs that neither train nor score."""
