"""What each validation image scored at the network's size: the steps counted it, here it is kept."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from vocseg.model import SegmentationModule
from vocseg.model.description import protocol_of
from vocseg.runs.image_counts import ImageCounts, scored_data, summed
from vocseg.scores import ImageScores
from vocseg.scores.calibration import BINS, Calibration, calibration_counts, confidences


class NetworkScores(Callback):
    """Keeps the newest scoring epoch image by image, and outside of training, how sure the network was.

    A step's matrices stay where they are until the epoch ends, so that no device waits.
    """

    def __init__(self) -> None:
        self._counts: ImageCounts | None = None
        self._parts: list[tuple[Tensor, Tensor]] = []
        self._bins: Tensor | None = None  # int64 `[15,3]`
        self._counting = False

    def scores(self, trainer: Trainer, module: SegmentationModule) -> ImageScores | None:
        """The newest epoch's images; None if none was scored."""
        data = scored_data(trainer, module)
        if self._counts is None or data is None or not len(self._counts.rows):
            return None
        protocol = protocol_of(data, module, len(self._counts.rows))
        return self._counts.scores("network", protocol, module.class_list.names, data.ids("val"))

    def calibration(self, trainer: Trainer, module: SegmentationModule) -> Calibration | None:
        """Of the same predictions; None in training."""
        found = self.scores(trainer, module)
        return (
            None if self._bins is None or found is None else Calibration(self._bins.numpy(), found.protocol)
        )

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start anew."""
        self._counting = scored_data(trainer, pl_module) is not None
        scoring = self._counting and trainer.state.fn != TrainerFn.FITTING
        self._parts, self._counts = [], None
        self._bins = torch.zeros(BINS, 3, dtype=torch.int64, device=pl_module.device) if scoring else None

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep a batch."""
        if not self._counting:
            return
        self._parts.append((batch["index"], outputs["confusion"].int()))
        if self._bins is not None:
            logits, prediction = outputs["logits"], outputs["prediction"]
            confidence = confidences(logits, prediction)
            self._bins += calibration_counts(confidence, prediction, batch["mask"], logits.shape[1])

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Put the batches of all processes together."""
        if not self._counting:
            return
        data = scored_data(trainer, pl_module)
        assert isinstance(pl_module, SegmentationModule)
        self._counts = ImageCounts(("network",), data.facts("val")["images"], pl_module.classes)
        if self._parts:
            index, matrices = (torch.cat(each) for each in zip(*self._parts, strict=True))
            self._counts.put(index, network=matrices)
        self._parts = []
        self._counts.gather(trainer)
        self._bins = None if self._bins is None else summed(trainer, self._bins)

    on_test_start = on_validation_start
    on_test_batch_end = on_validation_batch_end
    on_test_epoch_end = on_validation_epoch_end


def newest_image_scores(trainer: Trainer, module: SegmentationModule) -> ImageScores | None:
    """The newest scoring epoch image by image, if the trainer keeps it."""
    kept = network_scores(trainer)
    return kept.scores(trainer, module) if kept else None


def network_scores(trainer: Trainer) -> NetworkScores | None:
    """The trainer's `NetworkScores`, if it has one."""
    callbacks: Any = trainer.callbacks  # type: ignore[attr-defined]
    return next((each for each in callbacks if isinstance(each, NetworkScores)), None)
