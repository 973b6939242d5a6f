"""Semantic segmentation on Pascal VOC 2012: U-Net, PyTorch Lightning, scores one can trust.

The names for use from Python are imported when they are first asked for: help, version and the tools need
neither torch nor Lightning.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vocseg.callbacks.best_weights import BestWeights
    from vocseg.checkpoints.weights import load_network
    from vocseg.data.datamodule import VOCDataModule
    from vocseg.errors import UserError
    from vocseg.loggers import filter_warnings
    from vocseg.metrics.scorer import Scorer
    from vocseg.models.module import SegmentationModule
    from vocseg.visualization.draw import labelled_overlay, overlay, panel

__version__ = "0.2.0"
__all__ = [
    "BestWeights",
    "Scorer",
    "SegmentationModule",
    "UserError",
    "VOCDataModule",
    "filter_warnings",
    "labelled_overlay",
    "load_network",
    "overlay",
    "panel",
]

_FILES = {
    "data.datamodule": ("VOCDataModule",),
    "errors": ("UserError",),
    "callbacks.best_weights": ("BestWeights",),
    "checkpoints.weights": ("load_network",),
    "loggers": ("filter_warnings",),
    "metrics.scorer": ("Scorer",),
    "models.module": ("SegmentationModule",),
    "visualization.draw": ("labelled_overlay", "overlay", "panel"),
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if not TYPE_CHECKING:  # a checker would take every name for one that exists

    def __getattr__(name: str) -> object:
        for file, names in _FILES.items():
            if name in names:
                return getattr(import_module(f"vocseg.{file}"), name)
        raise AttributeError(f"module 'vocseg' has no attribute '{name}'")
