"""Semantic segmentation on Pascal VOC 2012 with U-Net and PyTorch Lightning.

The public names are imported on first access.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vocseg.callbacks.best_weights import BestWeights as BestWeights
    from vocseg.checkpoints.weights import load_network as load_network
    from vocseg.data.datamodule import VOCDataModule as VOCDataModule
    from vocseg.errors import UserError as UserError
    from vocseg.inference.predictor import load as load
    from vocseg.loggers import filter_warnings as filter_warnings
    from vocseg.metrics.scorer import Scorer as Scorer
    from vocseg.models.module import SegmentationModule as SegmentationModule
    from vocseg.visualization.draw import labelled_overlay as labelled_overlay
    from vocseg.visualization.draw import overlay as overlay
    from vocseg.visualization.draw import panel as panel

__version__ = "0.2.0"
_MODULES = {
    "BestWeights": "callbacks.best_weights",
    "Scorer": "metrics.scorer",
    "SegmentationModule": "models.module",
    "UserError": "errors",
    "VOCDataModule": "data.datamodule",
    "filter_warnings": "loggers",
    "labelled_overlay": "visualization.draw",
    "load": "inference.predictor",
    "load_network": "checkpoints.weights",
    "overlay": "visualization.draw",
    "panel": "visualization.draw",
}
__all__ = list(_MODULES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if not TYPE_CHECKING:  # else type checkers accept every name

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module 'vocseg' has no attribute '{name}'")
        return getattr(import_module(f"vocseg.{_MODULES[name]}"), name)
