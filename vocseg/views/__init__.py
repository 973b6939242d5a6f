"""What a person looks at: tables, panels, overlays.

The names are fetched when they are first asked for: pictures need torch, tables of figures do not.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vocseg.views.confusion import ConfusionPicture, confusion_picture
    from vocseg.views.differences import difference_tables
    from vocseg.views.draw import colour, error_map, labelled_overlay, overlay, panel, sheet
    from vocseg.views.intervals import interval_table
    from vocseg.views.panels import Panels
    from vocseg.views.tables import calibration_line, score_table, sizes_line

__all__ = [
    "ConfusionPicture",
    "Panels",
    "calibration_line",
    "colour",
    "confusion_picture",
    "difference_tables",
    "error_map",
    "interval_table",
    "labelled_overlay",
    "overlay",
    "panel",
    "score_table",
    "sheet",
    "sizes_line",
]

_FILES = {
    "confusion": ("ConfusionPicture", "confusion_picture"),
    "differences": ("difference_tables",),
    "draw": ("colour", "error_map", "labelled_overlay", "overlay", "panel", "sheet"),
    "intervals": ("interval_table",),
    "panels": ("Panels",),
    "tables": ("calibration_line", "score_table", "sizes_line"),
}

if not TYPE_CHECKING:  # a checker would take every name for one that exists

    def __getattr__(name: str) -> object:
        for file, names in _FILES.items():
            if name in names:
                return getattr(import_module(f"vocseg.views.{file}"), name)
        raise AttributeError(f"module 'vocseg.views' has no attribute '{name}'")
