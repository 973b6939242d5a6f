"""Expected calibration error and the bins of a reliability diagram.

Definition of Guo et al. (On Calibration of Modern Neural Networks, ICML 2017) with pixels as samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vocseg.metrics.per_image import Protocol

if TYPE_CHECKING:  # `report` reads calibrations without importing torch
    from torch import Tensor

BINS = 15
_ONE = 2**24  # probabilities are summed as integers, so the sum is independent of order and processes


class Bin(NamedTuple):
    """Pixels of similar confidence."""

    low: float  # lower limit of the confidence
    high: float  # upper limit
    pixels: int  # number of pixels
    confidence: float | None  # mean confidence; None without pixels
    accuracy: float | None  # fraction of correct pixels; None without pixels


@dataclass(frozen=True, eq=False)
class Calibration:
    """Labelled pixels by confidence, the probability of the predicted class.

    Attributes:
        counts: int64 `[15,3]`: labelled pixels, correct pixels, sum of confidences in units of 2**-24.
    """

    counts: npt.NDArray[np.int64]
    protocol: Protocol  # protocol of the score; its resolution is that of the counted pixels

    @property
    def error(self) -> float | None:
        """Expected calibration error, 0 to 1; None if no pixel is labelled."""
        pixels, correct, confidence = self.counts.astype(np.float64).T
        return float(np.abs(correct - confidence / _ONE).sum() / pixels.sum()) if pixels.any() else None

    @property
    def confidence(self) -> float | None:
        """Mean confidence; None if no pixel is labelled."""
        pixels, _, confidence = self.counts.sum(0).tolist()
        return confidence / _ONE / pixels if pixels else None

    @property
    def accuracy(self) -> float | None:
        """Pixel accuracy; None if no pixel is labelled."""
        pixels, correct, _ = self.counts.sum(0).tolist()
        return correct / pixels if pixels else None

    @property
    def bins(self) -> tuple[Bin, ...]:
        """The fifteen bins of equal width."""
        return tuple(
            Bin(k / BINS, (k + 1) / BINS, n, confidence / _ONE / n if n else None, correct / n if n else None)
            for k, (n, correct, confidence) in enumerate(self.counts.tolist())
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "expected_calibration_error": self.error,
            "mean_confidence": self.confidence,
            "pixel_accuracy": self.accuracy,
            "bins": [each._asdict() for each in self.bins],
            "protocol": asdict(self.protocol),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Calibration:
        """Inverse of `as_dict`, but for rounding."""
        bins = [(each["pixels"], each["accuracy"] or 0, each["confidence"] or 0) for each in plain["bins"]]
        counts = np.array(bins, np.float64)
        counts[:, 1:] *= counts[:, :1] * (1, _ONE)
        return cls(counts.round().astype(np.int64), Protocol(**plain["protocol"]))


def confidences(logits: Tensor, prediction: Tensor) -> Tensor:
    """Softmax probability of the predicted classes, float32 `[N,H,W]`, from logits `[N,C,H,W]`."""
    last = logits.permute(0, 2, 3, 1)  # [N,H,W,C], channels_last as in memory; twice as fast as a softmax
    best = last.gather(-1, prediction[..., None].long())
    return (last - best).exp_().sum(-1).reciprocal_()


def calibration_counts(confidence: Tensor, prediction: Tensor, mask: Tensor, classes: int) -> Tensor:
    """Count pixels by bin; counts of images, batches and processes add up.

    Args:
        confidence: Probability of the predicted class, float32 `[...]`.
        prediction: Predicted classes, integer `[...]`.
        mask: True classes, uint8 `[...]`; values that are not a class (255) are ignored.
        classes: Number of classes.

    Returns:
        int64 `[15,3]`, see `Calibration.counts`; a bin includes its upper limit.
    """
    import torch

    from vocseg.metrics.confusion import histogram

    units = (confidence.nan_to_num() * _ONE).round().long()
    bin_ = ((units * BINS - 1) // _ONE).clamp(0, BINS - 1)
    cell = torch.where(mask < classes, 2 * bin_ + (prediction == mask), 2 * BINS).flatten()
    pixels = histogram(cell, 2 * BINS + 1)[:-1].view(BINS, 2)  # wrong, correct
    sums = histogram(cell, 2 * BINS + 1, units.flatten())[:-1].view(BINS, 2)
    return torch.stack([pixels.sum(1), pixels[:, 1], sums.sum(1)], dim=1)
