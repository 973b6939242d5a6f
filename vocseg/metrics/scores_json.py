"""Metrics of a split as plain values."""

from typing import Any

from vocseg.metrics.aggregate import error_budget
from vocseg.metrics.bootstrap import ScoreIntervals, score_intervals
from vocseg.metrics.boundary import WIDTH
from vocseg.metrics.per_image import PerImageConfusion
from vocseg.metrics.score import Score


def scores_dict(
    images: PerImageConfusion, intervals: ScoreIntervals | None = None, loss: float | None = None
) -> dict[str, Any]:
    """A score in `scores.json`: metrics, intervals (computed if None), error budget, confusion matrices."""
    band = images.total_band()
    return {
        **Score.of(images, loss).as_dict(),
        "intervals": (intervals or score_intervals(images)).as_dict(),
        "error_budget": error_budget(images.total(), images.classes, band).as_dict(),
        **({} if band is None else {"trimap_width": WIDTH, "trimap_matrix": band.tolist()}),
    }
