"""Calibration: expected calibration error and reliability diagram.

The definition is that of Guo et al. (On Calibration of Modern Neural Networks, ICML 2017) with pixels for
samples: fifteen bins of equal width of the best class's probability, and the gap between its mean and
the share of right pixels, weighted by the pixels in each bin.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from vocseg.metrics.confusion import histogram
from vocseg.metrics.protocol import Protocol

BINS = 15
_ONE = 2**24  # probabilities are added up as whole numbers, so that neither order nor processes matter


@dataclass(frozen=True, eq=False)
class Calibration:
    """Pixels by the probability of their predicted class.

    Attributes:
        counts: int64 `[15,3]`: labelled pixels, right ones, and the sum of probabilities in units of 2**-24.
        protocol: How the probabilities were taken; its resolution says at which size pixels were counted.
    """

    counts: npt.NDArray[np.int64]
    protocol: Protocol

    @property
    def error(self) -> float | None:
        """The expected calibration error, 0 to 1; None if no pixel is labelled."""
        pixels, right, confidence = self.counts.astype(np.float64).T
        return float(np.abs(right - confidence / _ONE).sum() / pixels.sum()) if pixels.any() else None

    @property
    def confidence(self) -> float | None:
        """The mean probability of the predicted class."""
        pixels, _, confidence = self.counts.sum(0).tolist()
        return confidence / _ONE / pixels if pixels else None

    @property
    def accuracy(self) -> float | None:
        """The share of right pixels, which a network that knows itself expects."""
        pixels, right, _ = self.counts.sum(0).tolist()
        return right / pixels if pixels else None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON: the error, and of each bin all that a reliability diagram needs."""
        bins = [
            {
                "low": k / BINS,
                "high": (k + 1) / BINS,
                "pixels": pixels,
                "confidence": confidence / _ONE / pixels if pixels else None,
                "accuracy": right / pixels if pixels else None,
            }
            for k, (pixels, right, confidence) in enumerate(self.counts.tolist())
        ]
        return {
            "expected_calibration_error": self.error,
            "mean_confidence": self.confidence,
            "pixel_accuracy": self.accuracy,
            "bins": bins,
            "protocol": asdict(self.protocol),
        }


def confidences(logits: Tensor, prediction: Tensor) -> Tensor:
    """The probability of the predicted class, in half the time of a softmax.

    Args:
        logits: float32 `[N,C,H,W]`.
        prediction: The best class of each pixel, integer `[N,H,W]`.

    Returns:
        float32 `[N,H,W]`.
    """
    last = logits.permute(0, 2, 3, 1)  # [N,H,W,C], as a network's logits lie in memory
    best = last.gather(-1, prediction[..., None].long())
    return (last - best).exp_().sum(-1).reciprocal_()


def calibration_counts(confidence: Tensor, prediction: Tensor, mask: Tensor, classes: int) -> Tensor:
    """Count pixels by bin; counts of images, batches and processes add up.

    Args:
        confidence: Probability of the predicted class, float32 `[...]`.
        prediction: Predicted classes, integer `[...]`.
        mask: True classes, uint8 `[...]`; what is not a class (255) is not counted.
        classes: Number of classes.

    Returns:
        int64 `[15,3]`, see `Calibration.counts`; a bin holds its upper end.
    """
    units = (confidence.nan_to_num() * _ONE).round().long()
    bin_ = ((units * BINS - 1) // _ONE).clamp(0, BINS - 1)
    cell = torch.where(mask < classes, 2 * bin_ + (prediction == mask), 2 * BINS).flatten()
    pixels = histogram(cell, 2 * BINS + 1)[:-1].view(BINS, 2)  # wrong, right
    sums = histogram(cell, 2 * BINS + 1, units.flatten())[:-1].view(BINS, 2)
    return torch.stack([pixels.sum(1), pixels[:, 1], sums.sum(1)], dim=1)
