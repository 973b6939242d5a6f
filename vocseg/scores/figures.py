"""All figures of a score as plain values."""

from typing import Any

from vocseg.scores.bands import WIDTH
from vocseg.scores.image_scores import ImageScores
from vocseg.scores.intervals import ScoreIntervals, score_intervals
from vocseg.scores.measures import error_budget
from vocseg.scores.score import Score


def score_figures(
    images: ImageScores, intervals: ScoreIntervals | None = None, loss: float | None = None
) -> dict[str, Any]:
    """Everything that the tables show of a score, and the matrix it follows from.

    Args:
        images: What was counted.
        intervals: Of these scores, if they are known already.
        loss: Mean loss, if it was computed.
    """
    known, band = intervals or score_intervals(images), images.total_band()
    budget = error_budget(images.total(), images.classes, band)
    return {
        **Score.of(images, loss).as_dict(),
        "intervals": known.as_dict(),
        "error_budget": budget.as_dict(),
        **({} if band is None else {"trimap_width": WIDTH, "trimap_matrix": band.tolist()}),
    }
