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
from vocseg.metrics.aggregate import boundary_band
from vocseg.metrics.calibration import BINS, Calibration, calibration_counts
from vocseg.metrics.confusion import confusion_matrices
from vocseg.metrics.per_image import PerImageConfusion
from vocseg.metrics.upsample import argmax_upsampled
from vocseg.models.metadata import protocol_of
from vocseg.models.module import SegmentationModule

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
_READERS = min(8, os.cpu_count() or 1)  # threads that decode masks


@dataclass(frozen=True)
class OriginalResolutionResult:
    """Scores of one pass at the original resolution.

    Attributes:
        original: Confusion matrices of the predictions.
        ceiling: Upper bound, a perfect prediction at the input resolution. None with sliding windows.
        calibration: Calibration of sliding windows. None without them, as `PerImageMetrics` has it.
    """

    original: PerImageConfusion
    ceiling: PerImageConfusion | None
    calibration: Calibration | None


class Truth(NamedTuple):
    """Ground truth of an image at the original resolution.

    Attributes:
        mask: Class indices uint8 `[H,W]`, 255 ignored.
        both: The mask, and the mask restricted to a band around its boundaries, `[2,H,W]`.
    """

    mask: Bytes
    both: Bytes

    @classmethod
    def of(cls, mask: Bytes) -> "Truth":
        """Compute the band."""
        banded = np.where(boundary_band(mask), mask, IGNORE_INDEX).astype(np.uint8)
        return cls(mask, np.stack([mask, banded]))


class OriginalResolutionAccumulator:
    """Confusion matrices of each image: prediction, boundary band, and without windows the upper bound."""

    def __init__(self, images: int, classes: int, windows: SlidingWindow | None) -> None:
        self.windows, self._classes = windows, classes
        kinds = ("original", "band") if windows else ("original", "band", "ceiling")
        self._matrices = PerImageAccumulator(kinds, images, classes)
        self._bins = torch.zeros(BINS, 3, dtype=torch.int64) if windows else None

    def put(self, index: int, found: Tensor, truth: "Truth", mask: Tensor) -> None:
        """Count an image on the device of its prediction.

        Args:
            index: Position in the split.
            found: Predicted classes, uint8 `[H,W]`.
            truth: Ground truth at the original resolution.
            mask: Ground truth at the input resolution, uint8 `[h,w]`.
        """
        masks = torch.from_numpy(truth.both).to(found.device, non_blocking=True)  # [2,H,W]
        predictions = [found, found]
        if self.windows is None:
            # One-hot logits of the resized mask. Ignored pixels have none, so that neighbours decide.
            hot = functional.one_hot(mask.clamp(max=self._classes).long(), self._classes + 1)  # [h,w,C+1]
            logits = hot[..., : self._classes].float().permute(2, 0, 1)
            perfect = argmax_upsampled(logits, truth.mask.shape)
            predictions, masks = [*predictions, perfect], torch.cat([masks, masks[:1]])
        counted = confusion_matrices(torch.stack(predictions), masks, self._classes)
        self._matrices.put_later(index, dict(zip(self._matrices.matrices, counted, strict=True)))

    def put_confidences(self, confidence: Tensor, best: Tensor, truth: Bytes) -> None:
        """Count confidences and classes of sliding windows, both `[H,W]`."""
        assert self._bins is not None
        self._bins += calibration_counts(confidence, best, torch.from_numpy(truth), self._classes)

    def gather(self, trainer: Trainer) -> None:
        """Sum over all processes."""
        self._matrices.gather(trainer)
        self._bins = None if self._bins is None else summed(trainer, self._bins)

    def scores(self, data: Any, module: SegmentationModule) -> OriginalResolutionResult | None:
        """Return the scores. None if no image was counted."""
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
        self._saver = PredictionSaver(save_predictions)
        self.stages = {"test": on_test, "validate": on_validate}
        self.window, self.stride = sliding_window, float(window_stride)
        if not 0 < window_stride <= 1:
            raise UserError(
                f"--original_resolution.window_stride {window_stride:g} is out of range. Give a fraction "
                "above 0 and at most 1, such as 0.5."
            )
        self._counts: OriginalResolutionAccumulator | None = None  # None: nothing is scored

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that sliding windows are used.

        Raises:
            UserError: If nothing is scored at the original resolution.
        """
        verb = TrainerFn(stage).value
        if self.window and not self.stages.get(verb, True):
            raise UserError(
                f"--original_resolution.sliding_window true scores at the original resolution only. Set "
                f"--original_resolution.on_{verb} true as well."
            )

    def scores(self, trainer: Trainer, module: SegmentationModule) -> OriginalResolutionResult | None:
        """Return the scores of the newest epoch, if any."""
        data = scored_data(trainer, module)
        return None if self._counts is None or data is None else self._counts.scores(data, module)

    def windows(self, size: int) -> SlidingWindow:
        """Return the windows for an input resolution."""
        return SlidingWindow(size, self.stride)

    def probabilities(self, trainer: Trainer, module: SegmentationModule, image: Bytes) -> Tensor:
        """Return the mean softmax, float32 `[C,H,W]`, of the windows over an image, uint8 `[H,W,3]`."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        with trainer.precision_plugin.forward_context():
            return self.windows(data.image_size).probabilities(
                lambda images: module.tta.logits(module, images), image, data.batch_size, module.device
            )

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin(trainer, pl_module, "test")

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
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
        if self._counts is None or not isinstance(pl_module, SegmentationModule):
            return
        read = trainer.datamodule.full_mask  # type: ignore[attr-defined]
        scored = [(k, index) for k, index in enumerate(batch["index"].tolist()) if index >= 0]  # no padding
        with ThreadPoolExecutor(_READERS) as pool:  # masks are decoded while a GPU counts
            truths = pool.map(lambda pair: Truth.of(read(pair[1])), scored)
            for (k, index), truth in zip(scored, truths, strict=True):
                logits = outputs["logits"][k]
                if self._counts.windows is None:
                    found = argmax_upsampled(logits, truth.mask.shape)
                else:
                    found, logits = self._slide(trainer, pl_module, index, truth.mask)
                self._counts.put(index, found, truth, batch["mask"][k])
                self._saver.add(index, logits, found, truth.mask)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._counts is not None:
            self._counts.gather(trainer)
            self._saver.finish(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._saver.drop()

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
        self._saver.begin(trainer, module, self._counts is not None)

    def _slide(
        self, trainer: Trainer, module: SegmentationModule, index: int, truth: Bytes
    ) -> tuple[Tensor, Tensor]:
        """Classes, uint8 `[H,W]`, and log-probabilities, `[C,H,W]`, of sliding windows over an image."""
        assert self._counts is not None
        image = trainer.datamodule.full_image(index)  # type: ignore[attr-defined]
        probabilities = self.probabilities(trainer, module, image)
        confidence, best = (each.cpu() for each in probabilities.max(0))
        self._counts.put_confidences(confidence, best, truth)
        return best.to(torch.uint8), probabilities.clamp(min=1e-12).log()
