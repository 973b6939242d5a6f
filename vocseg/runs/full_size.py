"""Scores at each picture's own size: the official way, beside the one at the network's size."""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from vocseg.errors import UserError
from vocseg.model import SegmentationModule
from vocseg.model.windows import Windows
from vocseg.runs.evidence import EvidenceWriter
from vocseg.runs.full_size_counts import Bytes, FullSizeCounts, FullSizeScores, Truth
from vocseg.runs.image_counts import scored_data
from vocseg.scores.upsampling import full_size_classes

_READERS = min(8, os.cpu_count() or 1)  # threads that decode masks


class FullSize(Callback):
    """Scores predictions at each picture's own size, as VOC does.

    Logits are upsampled to the picture, the best class is taken, and one integer matrix is counted for each.

    Args:
        test: In `test`.
        validate: In `validate`, and in the validation of every epoch of training.
        window: Predict in windows of the network's size that slide over the picture at its own size, instead
            of resizing it (`test`, `validate` and `predict`): the mean of the softmax of all windows that see
            a pixel, with equal weights. A picture smaller than one is enlarged by reflection, not scored.
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
        self._counts: FullSizeCounts | None = None  # None: nothing is scored

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
        data = scored_data(trainer, module)
        return None if self._counts is None or data is None else self._counts.scores(data, module)

    def windows(self, size: int) -> Windows:
        """The windows of a network that takes images of this edge."""
        return Windows(size, self.stride)

    def probabilities(self, trainer: Trainer, module: SegmentationModule, image: Bytes) -> Tensor:
        """Mean softmax float32 `[C,H,W]` of the windows over an image uint8 `[H,W,3]`."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        with trainer.precision_plugin.forward_context():
            return self.windows(data.size).probabilities(
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
                    found = full_size_classes(logits, truth.mask.shape)
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
            windows = self.windows(data.size) if self.window else None
            self._counts = FullSizeCounts(data.facts("val")["images"], module.classes, windows)
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
