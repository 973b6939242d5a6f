"""The tool `python -m vocseg report`: what a run left, on one page for people."""

from vocseg.report.tool import report

__all__ = ["report"]
