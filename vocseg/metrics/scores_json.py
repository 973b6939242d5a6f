"""All metrics of a score as plain values."""

from typing import Any

from vocseg.metrics.aggregate import error_budget
from vocseg.metrics.bootstrap import ScoreIntervals, score_intervals
from vocseg.metrics.boundary import WIDTH
from vocseg.metrics.per_image import PerImageConfusion
from vocseg.metrics.score import Score


def scores_dict(
    images: PerImageConfusion, intervals: ScoreIntervals | None = None, loss: float | None = None
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
