"""What is counted of images at their own size, by one pass over a split."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torch.nn import functional

from vocseg.model import SegmentationModule
from vocseg.model.description import protocol_of
from vocseg.model.windows import Windows
from vocseg.runs.image_counts import ImageCounts, summed
from vocseg.scores import ImageScores, confusion_matrices
from vocseg.scores.bands import boundary_band
from vocseg.scores.calibration import BINS, Calibration, calibration_counts
from vocseg.scores.upsampling import full_size_classes
from vocseg.voc import IGNORE_INDEX

Bytes = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class FullSizeScores:
    """One pass over the images at their own size.

    Attributes:
        original: What was predicted.
        ceiling: What a network without fault would score, had it to predict at the network's size; None with
            windows, which predict every pixel.
        calibration: Of the windows' probabilities; None without windows, as those at the network's size
            are counted there.
    """

    original: ImageScores
    ceiling: ImageScores | None
    calibration: Calibration | None


class Truth(NamedTuple):
    """What is true of an image at its own size.

    Attributes:
        mask: Class indices uint8 `[H,W]`, 255 ignored.
        both: The mask, and the mask with all ignored but a band around its boundaries, `[2,H,W]`.
    """

    mask: Bytes
    both: Bytes

    @classmethod
    def of(cls, mask: Bytes) -> "Truth":
        """Find the band."""
        banded = np.where(boundary_band(mask), mask, IGNORE_INDEX).astype(np.uint8)
        return cls(mask, np.stack([mask, banded]))


class FullSizeCounts:
    """Matrices of each image: as predicted, near a boundary, and without windows the ceiling."""

    def __init__(self, images: int, classes: int, windows: Windows | None) -> None:
        """Start at zero.

        Args:
            images: Length of the split.
            classes: Number of classes, C.
            windows: What predicts, if windows do.
        """
        self.windows, self._classes = windows, classes
        kinds = ("original", "band") if windows else ("original", "band", "ceiling")
        self._matrices = ImageCounts(kinds, images, classes)
        self._bins = torch.zeros(BINS, 3, dtype=torch.int64) if windows else None

    def put(self, index: int, found: Tensor, truth: "Truth", mask: Tensor) -> None:
        """Count an image, on the device of its prediction, without making a GPU wait.

        Args:
            index: Its position in the split.
            found: Predicted classes, uint8 `[H,W]`.
            truth: What is true at its own size.
            mask: The same at the network's size, uint8 `[h,w]`.
        """
        masks = torch.from_numpy(truth.both).to(found.device, non_blocking=True)  # [2,H,W]
        predictions = [found, found]
        if self.windows is None:
            perfect = full_size_classes(_perfect(mask, self._classes), truth.mask.shape)
            predictions, masks = [*predictions, perfect], torch.cat([masks, masks[:1]])
        counted = confusion_matrices(torch.stack(predictions), masks, self._classes)
        self._matrices.put_later(index, dict(zip(self._matrices.matrices, counted, strict=True)))

    def put_confidences(self, confidence: Tensor, best: Tensor, truth: Bytes) -> None:
        """Count how sure windows were of the classes they found, both `[H,W]`."""
        assert self._bins is not None
        self._bins += calibration_counts(confidence, best, torch.from_numpy(truth), self._classes)

    def gather(self, trainer: Trainer) -> None:
        """Add the processes up."""
        self._matrices.gather(trainer)
        self._bins = None if self._bins is None else summed(trainer, self._bins)

    def scores(self, data: Any, module: SegmentationModule) -> FullSizeScores | None:
        """What was counted; None if nothing was.

        Args:
            data: The data module whose images they are.
            module: What predicted.
        """
        counts, windows = self._matrices, self.windows
        if not len(counts.rows):
            return None
        network = protocol_of(data, module, len(counts.rows))
        perfect = replace(network, resolution="original", tta=None)
        original = replace(network, resolution="original", windows=windows.label if windows else None)
        ids, names = data.ids("val"), module.class_list.names
        return FullSizeScores(
            counts.scores("original", original, names, ids, "band"),
            None if windows else counts.scores("ceiling", perfect, names, ids),
            None if self._bins is None else Calibration(self._bins.numpy(), original),
        )


def _perfect(mask: Tensor, classes: int) -> Tensor:
    """Logits `[C,h,w]` of a network without fault; where the mask is void, the neighbours decide."""
    hot = functional.one_hot(torch.where(mask < classes, mask, classes).long(), classes + 1)  # [h,w,C+1]
    return hot[..., :classes].float().permute(2, 0, 1)
