"""Scores: counting, their definitions, how far to believe them, and what a score must say of itself.

The names are fetched when they are first asked for: counting needs torch, comparing counts does not.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vocseg.scores.calibration import Calibration
    from vocseg.scores.comparison import Comparison, compare_groups
    from vocseg.scores.confusion import class_iou, confusion_matrices, mean_iou, pixel_accuracy
    from vocseg.scores.figures import score_figures
    from vocseg.scores.groups import Group
    from vocseg.scores.image_scores import ImageScores, load_image_scores
    from vocseg.scores.intervals import ScoreIntervals, score_intervals
    from vocseg.scores.measures import ErrorBudget, error_budget
    from vocseg.scores.protocol import Protocol
    from vocseg.scores.score import Score
    from vocseg.scores.scorer import Scorer

__all__ = [
    "Calibration",
    "Comparison",
    "ErrorBudget",
    "Group",
    "ImageScores",
    "Protocol",
    "Score",
    "ScoreIntervals",
    "Scorer",
    "class_iou",
    "compare_groups",
    "confusion_matrices",
    "error_budget",
    "load_image_scores",
    "mean_iou",
    "pixel_accuracy",
    "score_figures",
    "score_intervals",
]

_FILES = {
    "calibration": ("Calibration",),
    "comparison": ("Comparison", "compare_groups"),
    "confusion": ("class_iou", "confusion_matrices", "mean_iou", "pixel_accuracy"),
    "figures": ("score_figures",),
    "groups": ("Group",),
    "image_scores": ("ImageScores", "load_image_scores"),
    "intervals": ("ScoreIntervals", "score_intervals"),
    "measures": ("ErrorBudget", "error_budget"),
    "protocol": ("Protocol",),
    "score": ("Score",),
    "scorer": ("Scorer",),
}

if not TYPE_CHECKING:  # a checker would take every name for one that exists

    def __getattr__(name: str) -> object:
        for file, names in _FILES.items():
            if name in names:
                return getattr(import_module(f"vocseg.scores.{file}"), name)
        raise AttributeError(f"module 'vocseg.scores' has no attribute '{name}'")
