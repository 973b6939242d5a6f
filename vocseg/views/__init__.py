"""What a person looks at: tables, panels, overlays."""

from vocseg.views.draw import colour, error_map, labelled_overlay, overlay, panel, sheet
from vocseg.views.panels import Panels
from vocseg.views.tables import comparison_table, score_table

__all__ = [
    "Panels",
    "colour",
    "comparison_table",
    "error_map",
    "labelled_overlay",
    "overlay",
    "panel",
    "score_table",
    "sheet",
]
