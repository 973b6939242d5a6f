"""Scoring at the original resolution of the images."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.nn import functional

from vocseg.callbacks.per_image_metrics import PerImageAccumulator, scored_data, summed
from vocseg.callbacks.prediction_saver import PredictionSaver
from vocseg.constants import IGNORE_INDEX
from vocseg.errors import UserError
from vocseg.inference.sliding_window import SlidingWindow
from vocseg.metrics.boundary import boundary_band
from vocseg.metrics.calibration import BINS, Calibration, calibration_counts
from vocseg.metrics.confusion import confusion_matrices
from vocseg.metrics.per_image import PerImageConfusion
from vocseg.metrics.upsample import argmax_upsampled
from vocseg.models.metadata import protocol_of
from vocseg.models.module import SegmentationModule

Bytes = np.ndarray[Any, np.dtype[np.uint8]]


@dataclass(frozen=True)
class OriginalResolutionResult:
    """One pass over the images at their own size.

    Attributes:
        original: What was predicted.
        ceiling: What a network without fault would score, had it to predict at the network's size; None with
            windows, which predict every pixel.
        calibration: Of the windows' probabilities; None without windows, as those at the network's size
            are counted there.
    """

    original: PerImageConfusion
    ceiling: PerImageConfusion | None
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


class OriginalResolutionAccumulator:
    """Matrices of each image: as predicted, near a boundary, and without windows the ceiling."""

    def __init__(self, images: int, classes: int, windows: SlidingWindow | None) -> None:
        """Start at zero.

        Args:
            images: Length of the split.
            classes: Number of classes, C.
            windows: What predicts, if windows do.
        """
        self.windows, self._classes = windows, classes
        kinds = ("original", "band") if windows else ("original", "band", "ceiling")
        self._matrices = PerImageAccumulator(kinds, images, classes)
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
            perfect = argmax_upsampled(_perfect(mask, self._classes), truth.mask.shape)
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

    def scores(self, data: Any, module: SegmentationModule) -> OriginalResolutionResult | None:
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
        return OriginalResolutionResult(
            counts.scores("original", original, names, ids, "band"),
            None if windows else counts.scores("ceiling", perfect, names, ids),
            None if self._bins is None else Calibration(self._bins.numpy(), original),
        )


def _perfect(mask: Tensor, classes: int) -> Tensor:
    """Logits `[C,h,w]` of a network without fault; where the mask is void, the neighbours decide."""
    hot = functional.one_hot(torch.where(mask < classes, mask, classes).long(), classes + 1)  # [h,w,C+1]
    return hot[..., :classes].float().permute(2, 0, 1)


_READERS = min(8, os.cpu_count() or 1)  # threads that decode masks


class OriginalResolutionEval(Callback):
    """Scores predictions at the original resolution of each image, as VOC does.

    Logits are upsampled to the image's size, and the argmax is counted in one confusion matrix an image.

    Args:
        on_test: Scoring at the original resolution in `test`.
        on_validate: The same in `validate` and in the validations of training.
        sliding_window: Sliding-window inference at the original resolution in `test`, `validate` and
            `predict`. A pixel's probabilities are the mean over its windows. Images smaller than a window are
            padded by reflection.
        window_stride: Step between windows as a fraction of the window's side length, above 0 and at most 1.
        save_predictions: Saving of predicted masks and label-error data in `test` and `validate`.

    """

    def __init__(
        self,
        on_test: bool = True,
        on_validate: bool = False,
        sliding_window: bool = False,
        window_stride: float = 0.5,
        save_predictions: bool = True,
    ) -> None:
        self.evidence = PredictionSaver(save_predictions)
        self.stages = {"test": on_test, "validate": on_validate}
        self.window, self.stride = sliding_window, float(window_stride)
        if not 0 < window_stride <= 1:
            raise UserError(
                f"--original_resolution.window_stride {window_stride:g} is out of range. Give a fraction "
                "above 0 and at most 1, such as 0.5."
            )
        self._counts: OriginalResolutionAccumulator | None = None  # None: nothing is scored

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """See that windows are not asked for in vain.

        Raises:
            UserError: If they are.
        """
        verb = TrainerFn(stage).value
        if self.window and not self.stages.get(verb, True):
            raise UserError(
                f"--original_resolution.sliding_window true scores at the original resolution only. Set "
                f"--original_resolution.on_{verb} true as well."
            )

    def scores(self, trainer: Trainer, module: SegmentationModule) -> OriginalResolutionResult | None:
        """What was counted in the newest epoch; None if nothing was."""
        data = scored_data(trainer, module)
        return None if self._counts is None or data is None else self._counts.scores(data, module)

    def windows(self, size: int) -> SlidingWindow:
        """The windows of a network that takes images of this edge."""
        return SlidingWindow(size, self.stride)

    def probabilities(self, trainer: Trainer, module: SegmentationModule, image: Bytes) -> Tensor:
        """Mean softmax float32 `[C,H,W]` of the windows over an image uint8 `[H,W,3]`."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        with trainer.precision_plugin.forward_context():
            return self.windows(data.image_size).probabilities(
                lambda images: module.variants.logits(module, images), image, data.batch_size, module.device
            )

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start counting."""
        self._begin(trainer, pl_module, "test")

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start counting."""
        self._begin(trainer, pl_module, "validate")

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count the images of a batch."""
        if self._counts is None or not isinstance(pl_module, SegmentationModule):
            return
        read = trainer.datamodule.full_mask  # type: ignore[attr-defined]
        scored = [(k, index) for k, index in enumerate(batch["index"].tolist()) if index >= 0]  # no fillers
        with ThreadPoolExecutor(_READERS) as pool:  # masks are decoded while a GPU counts
            truths = pool.map(lambda pair: Truth.of(read(pair[1])), scored)
            for (k, index), truth in zip(scored, truths, strict=True):
                logits = outputs["logits"][k]
                if self._counts.windows is None:
                    found = argmax_upsampled(logits, truth.mask.shape)
                else:
                    found, logits = self._slide(trainer, pl_module, index, truth.mask)
                self._counts.put(index, found, truth, batch["mask"][k])
                self.evidence.add(index, logits, found, truth.mask)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the processes up."""
        if self._counts is not None:
            self._counts.gather(trainer)
            self.evidence.finish(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave no half of the pictures."""
        self.evidence.drop()

    on_test_batch_end = on_validation_batch_end
    on_test_epoch_end = on_validation_epoch_end

    def _begin(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        data = scored_data(trainer, module) if self.stages[stage] else None
        self._counts = None
        if data is not None and isinstance(module, SegmentationModule):
            windows = self.windows(data.image_size) if self.window else None
            self._counts = OriginalResolutionAccumulator(
                data.facts("val")["images"], module.num_classes, windows
            )
        self.evidence.begin(trainer, module, self._counts is not None)

    def _slide(
        self, trainer: Trainer, module: SegmentationModule, index: int, truth: Bytes
    ) -> tuple[Tensor, Tensor]:
        """A picture's classes, uint8 `[H,W]`, and log-probabilities `[C,H,W]`, from windows over it."""
        assert self._counts is not None
        image = trainer.datamodule.full_image(index)  # type: ignore[attr-defined]
        probabilities = self.probabilities(trainer, module, image)
        confidence, best = (each.cpu() for each in probabilities.max(0))
        self._counts.put_confidences(confidence, best, truth)
        return best.to(torch.uint8), probabilities.clamp(min=1e-12).log()
