"""Scores at each picture's own size: the official way, beside the one at the network's size."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor
from torch.nn import functional

from vocseg.errors import UserError
from vocseg.model import SegmentationModule
from vocseg.model.windows import Windows
from vocseg.runs.evidence import EvidenceWriter
from vocseg.runs.image_counts import ImageCounts, protocol_of, scored_data, summed
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


class FullSize(Callback):
    """Scores predictions at each picture's own size, as VOC does.

    Logits are upsampled to the picture, the best class is taken, and one integer matrix is counted for each.

    Args:
        test: In `test`.
        validate: In `validate`, and in the validation of every epoch of training.
        window: Predict in windows of the network's size that slide over the picture at its own size, instead
            of resizing it (`test` and `validate`): the mean of the softmax of all windows that see a pixel,
            with equal weights. A picture smaller than a window is enlarged by reflection, not scored.
        stride: From one window to the next, in parts of a window's edge; above 0, and 1 at most.
        evidence: In `test` and `validate`, keep predictions and what `report` shows of them.
    """

    def __init__(
        self,
        test: bool = True,
        validate: bool = False,
        window: bool = False,
        stride: float = 0.5,
        evidence: bool = True,
    ) -> None:
        self.evidence = EvidenceWriter(evidence)
        self.stages = {"test": test, "validate": validate}
        self.window, self.stride = window, float(stride)
        if not 0 < stride <= 1:
            raise UserError(f"--full_size.stride {stride:g}: name a part of a window, such as 0.5; 1 at most")
        self._counts: ImageCounts | None = None  # original, band, and without windows ceiling
        self._bins: Tensor | None = None  # int64 `[15,3]`, with windows
        self._windows: Windows | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """See that windows are not asked for in vain.

        Raises:
            UserError: If they are.
        """
        verb = TrainerFn(stage).value
        if self.window and not self.stages.get(verb, True):
            raise UserError(
                f"--full_size.window true: windows score pictures at their own size, so {verb} needs "
                f"--full_size.{verb} true as well"
            )

    def scores(self, trainer: Trainer, module: SegmentationModule) -> FullSizeScores | None:
        """What was counted in the newest epoch; None if nothing was."""
        counts, data = self._counts, scored_data(trainer, module)
        if counts is None or data is None or not len(counts.rows):
            return None
        network = protocol_of(data, module, len(counts.rows))
        perfect = replace(network, resolution="original", tta=None)
        label = self._windows.label if self._windows else None
        original = replace(network, resolution="original", windows=label)
        ids, names = data.ids("val"), module.class_list.names
        return FullSizeScores(
            counts.scores("original", original, names, ids, "band"),
            None if self._windows else counts.scores("ceiling", perfect, names, ids),
            None if self._bins is None else Calibration(self._bins.numpy(), original),
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
        for k, index in enumerate(batch["index"].tolist()):
            if index < 0:  # a filler
                continue
            truth = trainer.datamodule.full_mask(index)  # type: ignore[attr-defined]
            logits = outputs["logits"][k]
            if self._windows is None:
                found = full_size_classes(logits, truth.shape).cpu()
            else:
                found, logits = self._slide(trainer, pl_module, index, truth)
            matrices = _matrices(found, truth, len(logits))
            if self._windows is None:
                perfect = full_size_classes(_perfect(batch["mask"][k].cpu(), len(logits)), truth.shape)
                matrices["ceiling"] = _matrix(perfect, truth, len(logits))
            self._counts.put(batch["index"][k : k + 1].cpu(), **matrices)
            self.evidence.add(index, logits, found, truth)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the processes up."""
        if self._counts is not None:
            self._counts.gather(trainer)
            self._bins = None if self._bins is None else summed(trainer, self._bins)
            self.evidence.finish(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave no half of the pictures."""
        self.evidence.drop()

    on_test_batch_end = on_validation_batch_end
    on_test_epoch_end = on_validation_epoch_end

    def _begin(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        data = scored_data(trainer, module) if self.stages[stage] else None
        self._counts = self._bins = self._windows = None
        if data is not None and isinstance(module, SegmentationModule):
            kinds = ("original", "band") if self.window else ("original", "band", "ceiling")
            self._counts = ImageCounts(kinds, data.facts("val")["images"], module.classes)
            self._windows = Windows(data.size, self.stride) if self.window else None
            self._bins = torch.zeros(BINS, 3, dtype=torch.int64) if self.window else None
        self.evidence.begin(trainer, module, self._counts is not None)

    def _slide(
        self, trainer: Trainer, module: SegmentationModule, index: int, truth: Bytes
    ) -> tuple[Tensor, Tensor]:
        """A picture's classes, uint8 `[H,W]`, and log-probabilities `[C,H,W]`, from windows over it."""
        assert self._windows is not None
        assert self._bins is not None
        data = trainer.datamodule  # type: ignore[attr-defined]
        with trainer.precision_plugin.forward_context():
            probabilities = self._windows.probabilities(
                lambda images: module.variants.logits(module, images),
                data.full_image(index),
                data.batch_size,
                module.device,
            )
        confidence, best = (each.cpu() for each in probabilities.max(0))
        self._bins += calibration_counts(confidence, best, torch.from_numpy(truth), len(probabilities))
        return best.to(torch.uint8), probabilities.clamp(min=1e-12).log()


def _perfect(mask: Tensor, classes: int) -> Tensor:
    """Logits `[C,h,w]` of a network without fault; where the mask is void, the neighbours decide."""
    hot = functional.one_hot(torch.where(mask < classes, mask, classes).long(), classes + 1)  # [h,w,C+1]
    return hot[..., :classes].float().permute(2, 0, 1)


def _matrices(prediction: Tensor, truth: Bytes, classes: int) -> dict[str, Tensor]:
    """Of the whole picture and of what is near a boundary, `[1,C,C]` each."""
    banded = np.where(boundary_band(truth), truth, IGNORE_INDEX).astype(np.uint8)
    return {"original": _matrix(prediction, truth, classes), "band": _matrix(prediction, banded, classes)}


def _matrix(prediction: Tensor, truth: Bytes, classes: int) -> Tensor:
    return confusion_matrices(prediction[None], torch.from_numpy(truth)[None], classes)
