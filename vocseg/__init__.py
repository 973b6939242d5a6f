"""Semantic segmentation on Pascal VOC 2012: U-Net, PyTorch Lightning, scores one can trust.

The names are fetched when they are first asked for: torch takes seconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vocseg.scores.scorer import Scorer

__version__ = "0.2.0"
__all__ = ["Scorer"]

_MODULES = {"Scorer": "vocseg.scores.scorer"}

if not TYPE_CHECKING:  # a checker would take every name for one that exists

    def __getattr__(name: str) -> object:
        if name in _MODULES:
            return getattr(import_module(_MODULES[name]), name)
        raise AttributeError(f"module 'vocseg' has no attribute '{name}'")
