"""Scores: counting, their definitions, and what a score must say of itself."""

from vocseg.scores.confusion import class_iou, confusion_matrices, mean_iou, pixel_accuracy
from vocseg.scores.score import Protocol, Score

__all__ = ["Protocol", "Score", "class_iou", "confusion_matrices", "mean_iou", "pixel_accuracy"]
