"""Metrics of summed confusion matrices.

Everything here takes numpy arrays with any number of leading axes, so that thousands of resamples are scored
at once. A measure needs no more of a matrix than its diagonal and its sums: `tp_gt_pred`.
"""

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]

BACKGROUND = "background"
MEASURES = ("mean_iou", "pixel_accuracy", "mean_class_accuracy", "frequency_weighted_iou")
TRIMAP = "trimap_mean_iou"  # mean IoU of the pixels near a boundary alone, see `vocseg.metrics.boundary`


def tp_gt_pred(matrices: Integers) -> Floats:
    """Hits, true pixels and predicted pixels by class; sums over images stay exact up to 2**53 pixels.

    Args:
        matrices: Integers `[..., C,C]`, rows true, columns predicted.

    Returns:
        float64 `[..., 3,C]`.
    """
    hits = matrices.diagonal(axis1=-2, axis2=-1)
    return np.stack([hits, matrices.sum(-1), matrices.sum(-2)], axis=-2).astype(np.float64)


def compute_metrics(sums: Floats) -> Floats:
    """The four `MEASURES`, then the IoU of each class.

    Args:
        sums: `tp_gt_pred`, float64 `[..., 3,C]`.

    Returns:
        float64 `[..., 4+C]`; NaN for what is not defined, as the IoU of a class neither there nor predicted.
    """
    hits, true, predicted = sums[..., 0, :], sums[..., 1, :], sums[..., 2, :]
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a mean of nothing is NaN, as it should be
        iou = hits / (true + predicted - hits)
        pixels = true.sum(-1)
        totals = (
            np.nanmean(iou, -1),
            hits.sum(-1) / pixels,
            np.nanmean(hits / true, -1),
            np.nansum(true * iou, -1) / pixels,  # a class without pixels counts for nothing
        )
    return np.concatenate([np.stack(totals, -1), iou], -1)


def mean_class_accuracy(matrix: Integers) -> float:
    """Share of a class's true pixels that are right, averaged over the classes that are there, or NaN."""
    return float(compute_metrics(tp_gt_pred(matrix))[MEASURES.index("mean_class_accuracy")])


def frequency_weighted_iou(matrix: Integers) -> float:
    """IoU of the classes weighted by their shares of the true pixels; NaN if there are none."""
    return float(compute_metrics(tp_gt_pred(matrix))[MEASURES.index("frequency_weighted_iou")])


@dataclass(frozen=True)
class ErrorBudget:
    """What keeps mean IoU from 1, in mean IoU: the parts add up to 1 - mean IoU.

    Attributes:
        boundary: Wrong pixels near a boundary, whatever they were taken for; None: not counted apart.
        background_for_object: Background taken for an object.
        object_for_background: An object taken for background.
        another_class: An object taken for one of another class.
    """

    boundary: float | None
    background_for_object: float
    object_for_background: float
    another_class: float

    def as_dict(self) -> dict[str, float | None]:
        """Plain values."""
        return asdict(self)

    @property
    def total(self) -> float:
        """1 - mean IoU."""
        return sum(value for value in self.as_dict().values() if value is not None)


def error_budget(matrix: Integers, classes: Sequence[str], band: Integers | None = None) -> ErrorBudget:
    """Share out what is missing from a mean IoU of 1.

    With U the pixels that truly are or were taken for a class, 1 - IoU of the class is its wrong pixels / U.
    So a pixel of class t taken for p costs 1/U_t, as it is missed there, and 1/U_p, as it is too much here,
    both divided by the number of classes that have an IoU.

    Args:
        matrix: Integers `[C,C]`, rows true, columns predicted.
        classes: Names of the C classes; the first is background only if it is called so.
        band: Integers `[C,C]`, those of the pixels that lie near a boundary; None: no such part.

    Returns:
        The parts; all NaN if no class has an IoU.
    """
    if not matrix.any():
        return ErrorBudget(None if band is None else np.nan, np.nan, np.nan, np.nan)
    union = matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
    with np.errstate(divide="ignore"):
        price = np.where(union > 0, 1 / union, 0.0)
    cost = (price[:, None] + price[None, :]) / (union > 0).sum()
    near = np.zeros_like(matrix) if band is None else band
    lost = np.where(np.eye(len(matrix), dtype=bool), 0.0, (matrix - near) * cost)
    first = int(classes[0].casefold() == BACKGROUND)  # with no background, all rows are objects
    return ErrorBudget(
        None if band is None else float(np.where(np.eye(len(near), dtype=bool), 0.0, near * cost).sum()),
        float(lost[:first].sum()),
        float(lost[first:, :first].sum()),
        float(lost[first:, first:].sum()),
    )
