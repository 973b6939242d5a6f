"""Metrics of summed confusion matrices.

All functions take numpy arrays with any number of leading axes, so thousands of resamples are scored at once.

The trimap measure of Kohli et al. (IJCV 2009) and Kraehenbuehl and Koltun (NIPS 2011) with the IoU of the
DeepLab papers: mean IoU over the labelled pixels near a true boundary, at original resolution. Here the band
surrounds every change of label, ignored pixels (255) included. It differs from "Boundary IoU" (CVPR 2021).
"""

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]

BACKGROUND = "background"
MEASURES = ("mean_iou", "pixel_accuracy", "mean_class_accuracy", "frequency_weighted_iou")
TRIMAP = "trimap_mean_iou"  # mean IoU of the pixels near a boundary, see `vocseg.metrics.aggregate`


def tp_gt_pred(matrices: Integers) -> Floats:
    """True positives, true and predicted pixels by class, float64 `[..., 3,C]` of integers `[..., C,C]`."""
    hits = matrices.diagonal(axis1=-2, axis2=-1)
    return np.stack([hits, matrices.sum(-1), matrices.sum(-2)], axis=-2).astype(np.float64)


def compute_metrics(sums: Floats) -> Floats:
    """The four `MEASURES`, then the IoU of each class, float64 `[..., 4+C]` of `tp_gt_pred` `[..., 3,C]`.

    Undefined values are NaN, e.g. the IoU of a class neither present nor predicted.
    """
    hits, true, predicted = sums[..., 0, :], sums[..., 1, :], sums[..., 2, :]
    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean of an empty slice is NaN, as intended
        iou = hits / (true + predicted - hits)
        pixels = true.sum(-1)
        totals = (
            np.nanmean(iou, -1),
            hits.sum(-1) / pixels,
            np.nanmean(hits / true, -1),
            np.nansum(true * iou, -1) / pixels,
        )
    return np.concatenate([np.stack(totals, -1), iou], -1)


@dataclass(frozen=True)
class ErrorBudget:
    """Parts of 1 - mean IoU by kind of error."""

    boundary: float | None  # wrong pixels near a boundary, of any kind; None: not counted separately
    background_for_object: float  # background predicted as an object
    object_for_background: float  # an object predicted as background
    another_class: float  # an object predicted as an object of another class

    @property
    def total(self) -> float:
        """1 - mean IoU."""
        return float(sum(value for value in asdict(self).values() if value is not None))


def error_budget(matrix: Integers, classes: Sequence[str], band: Integers | None = None) -> ErrorBudget:
    """Divide 1 - mean IoU among kinds of error.

    The union U of a class is its true and predicted pixels; 1 - IoU is its wrong pixels / U. A pixel of
    class t predicted as p costs 1/U_t + 1/U_p, divided by the number of classes with an IoU.

    Args:
        matrix: Integers `[C,C]`, rows true, columns predicted.
        classes: Names of the C classes; the first is background only if it has that name.
        band: Integers `[C,C]`, the pixels near a boundary; None: no such part.

    Returns:
        The parts; all NaN if no class has an IoU.
    """
    if not matrix.any():
        return ErrorBudget(None if band is None else np.nan, np.nan, np.nan, np.nan)
    union = matrix.sum(0) + matrix.sum(1) - matrix.diagonal()
    with np.errstate(divide="ignore"):
        price = np.where(union > 0, 1 / union, 0.0)
    cost = (price[:, None] + price[None, :]) / (union > 0).sum()
    np.fill_diagonal(cost, 0.0)
    near = np.zeros_like(matrix) if band is None else band
    lost = (matrix - near) * cost
    first = int(classes[0].casefold() == BACKGROUND)  # without a background, all rows are objects
    return ErrorBudget(
        None if band is None else float((near * cost).sum()),
        float(lost[:first].sum()),
        float(lost[first:, :first].sum()),
        float(lost[first:, first:].sum()),
    )


Bytes = npt.NDArray[np.uint8]

WIDTH = 5  # pixels on either side; VOC's ignored borders are about as wide


def boundary_band(mask: Bytes, width: int = WIDTH) -> npt.NDArray[np.bool_]:
    """Pixels within `width` pixels of another label (255 included), bool `[H,W]` of uint8 `[H,W]`."""
    square = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    return np.asarray(cv2.dilate(mask, square) != cv2.erode(mask, square))
