"""Scoring at the original resolution of the images."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

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
        self._counts: PerImageAccumulator | None = None  # None: nothing is scored
        self._bins: Tensor | None = None  # calibration of sliding windows

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Raise a `UserError` if sliding windows are not used."""
        verb = TrainerFn(stage).value
        if self.window and not self.stages.get(verb, True):
            raise UserError(
                f"--original_resolution.sliding_window true scores at the original resolution only. Set "
                f"--original_resolution.on_{verb} true as well."
            )

    def scores(self, trainer: Trainer, module: SegmentationModule) -> OriginalResolutionResult | None:
        """Return the scores of the newest epoch, if any."""
        data, counts = scored_data(trainer, module), self._counts
        if counts is None or data is None or not len(counts.rows):
            return None
        network = protocol_of(data, module, len(counts.rows))
        perfect = replace(network, resolution="original", tta=None)
        windows = self.windows(data.image_size).label if self.window else None
        original = replace(network, resolution="original", windows=windows)
        ids, names = data.ids("val"), module.class_list.names
        return OriginalResolutionResult(
            counts.scores("original", original, names, ids, "band"),
            None if self.window else counts.scores("ceiling", perfect, names, ids),
            None if self._bins is None else Calibration(self._bins.numpy(), original),
        )

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
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any, **__: Any
    ) -> None:
        if self._counts is None or not isinstance(pl_module, SegmentationModule):
            return
        read = trainer.datamodule.full_mask  # type: ignore[attr-defined]
        scored = [(k, index) for k, index in enumerate(batch["index"].tolist()) if index >= 0]  # no padding
        with ThreadPoolExecutor(_READERS) as pool:  # masks are decoded while a GPU counts
            truths = pool.map(lambda pair: _with_band(read(pair[1])), scored)
            for (k, index), truth in zip(scored, truths, strict=True):
                logits = outputs["logits"][k]
                if self.window:
                    found, logits = self._slide(trainer, pl_module, index, truth[0])
                else:
                    found = argmax_upsampled(logits, truth[0].shape)
                self._count(index, found, truth, batch["mask"][k], pl_module.num_classes)
                self._saver.add(index, logits, found, truth[0])

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._counts is not None:
            self._counts.gather(trainer)
            self._bins = None if self._bins is None else summed(trainer, self._bins)
            self._saver.finish(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._saver.drop()

    on_test_batch_end = on_validation_batch_end
    on_test_epoch_end = on_validation_epoch_end

    def _begin(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        data = scored_data(trainer, module) if self.stages[stage] else None
        self._counts = self._bins = None
        if data is not None and isinstance(module, SegmentationModule):
            kinds = ("original", "band") if self.window else ("original", "band", "ceiling")
            self._counts = PerImageAccumulator(kinds, data.facts("val")["images"], module.num_classes)
            self._bins = torch.zeros(BINS, 3, dtype=torch.int64) if self.window else None
        self._saver.begin(trainer, module, self._counts is not None)

    def _slide(
        self, trainer: Trainer, module: SegmentationModule, index: int, truth: Bytes
    ) -> tuple[Tensor, Tensor]:
        """Classes, uint8 `[H,W]`, and log-probabilities, `[C,H,W]`, of sliding windows over an image."""
        image = trainer.datamodule.full_image(index)  # type: ignore[attr-defined]
        probabilities = self.probabilities(trainer, module, image)
        confidence, best = (each.cpu() for each in probabilities.max(0))
        assert self._bins is not None
        self._bins += calibration_counts(confidence, best, torch.from_numpy(truth), module.num_classes)
        return best.to(torch.uint8), probabilities.clamp(min=1e-12).log()

    def _count(self, index: int, found: Tensor, truth: Bytes, mask: Tensor, classes: int) -> None:
        """Count predicted classes, uint8 `[H,W]`, on their device.

        `truth` is of `_with_band`, `mask` the ground truth at the input resolution, uint8 `[h,w]`.
        """
        assert self._counts is not None
        masks = torch.from_numpy(truth).to(found.device, non_blocking=True)  # [2,H,W]
        predictions = [found, found]
        if not self.window:
            # One-hot logits of the resized mask. Ignored pixels have none, so that neighbours decide.
            hot = functional.one_hot(mask.clamp(max=classes).long(), classes + 1)  # [h,w,C+1]
            perfect = argmax_upsampled(hot[..., :classes].float().permute(2, 0, 1), truth[0].shape)
            predictions, masks = [*predictions, perfect], torch.cat([masks, masks[:1]])
        counted = confusion_matrices(torch.stack(predictions), masks, classes)
        kinds = dict(zip(self._counts.matrices, counted[:, None], strict=True))
        self._counts.put(torch.tensor([index]), kinds)


def _with_band(mask: Bytes) -> Bytes:
    """A mask, and the mask restricted to a band around its boundaries, uint8 `[2,H,W]`."""
    return np.stack([mask, np.where(boundary_band(mask), mask, IGNORE_INDEX).astype(np.uint8)])
