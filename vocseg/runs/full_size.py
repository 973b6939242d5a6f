"""Scores at each picture's own size: the official way, beside the one at the network's size."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn import functional

from vocseg.model import SegmentationModule
from vocseg.scores import ImageScores, Protocol, Score, confusion_matrices
from vocseg.scores.bands import boundary_band
from vocseg.scores.upsampling import full_size_classes
from vocseg.voc import IGNORE_INDEX


@dataclass(frozen=True)
class FullSizeScores:
    """One pass, counted in three ways.

    Attributes:
        original: At each picture's own size.
        network: At the network's size.
        ceiling: What a network without fault would score at the pictures' own size.
    """

    original: ImageScores
    network: ImageScores
    ceiling: ImageScores

    @property
    def original_score(self) -> Score:
        """The score at the pictures' own size."""
        return _score(self.original)

    @property
    def ceiling_score(self) -> Score:
        """The highest that the network's size allows."""
        return _score(self.ceiling)

    def save(self, folder: Path) -> None:
        """Leave the first two image by image, for intervals and comparisons."""
        self.original.save(folder / "image_scores_original.npz")
        self.network.save(folder / "image_scores_network.npz")


class FullSize(Callback):
    """Scores predictions at each picture's own size, as VOC does.

    Logits are upsampled to the picture, the best class is taken, and one integer matrix is counted for each.

    Args:
        test: In `test`.
        validate: In `validate`, and in the validation of every epoch of training.
    """

    def __init__(self, test: bool = True, validate: bool = False) -> None:
        self.stages = {"test": test, "validate": validate}
        self.counts: dict[str, Tensor] = {}  # int64 `[N,C,C]`: original, band, ceiling, network
        self._seen = torch.zeros(0)  # `[N]`: 1 for an image that was scored

    def scores(self, trainer: Trainer, module: SegmentationModule) -> "FullSizeScores | None":
        """What was counted in the newest epoch; None if nothing was."""
        if not self.counts:
            return None
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        seen = np.flatnonzero(self._seen.numpy())  # fewer than there are with --trainer.limit_test_batches
        network = replace(Protocol(**data.facts("val")), images=len(seen))
        original = replace(network, resolution="original")
        ids, names = tuple(data.ids("val")[k] for k in seen), module.class_list.names
        counts = {name: count.numpy()[seen] for name, count in self.counts.items()}
        return FullSizeScores(
            ImageScores(ids, counts["original"], original, names, counts["band"]),
            ImageScores(ids, counts["network"], network, names),
            ImageScores(ids, counts["ceiling"], original, names),
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
        self._count(trainer, outputs, batch)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the processes up."""
        self._finish(trainer)

    on_test_batch_end = on_validation_batch_end
    on_test_epoch_end = on_validation_epoch_end

    def _begin(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        data = getattr(trainer, "datamodule", None)
        wanted = self.stages[stage] and data is not None and not trainer.sanity_checking
        self.counts = {}
        if wanted and data is not None and isinstance(module, SegmentationModule):
            shape = data.facts("val")["images"], module.classes, module.classes
            names = ("original", "band", "ceiling", "network")
            self.counts = {name: torch.zeros(shape, dtype=torch.int64) for name in names}
            self._seen = torch.zeros(shape[0], dtype=torch.int64)

    def _count(self, trainer: Trainer, outputs: Any, batch: Any) -> None:
        if not self.counts:
            return
        for k, index in enumerate(batch["index"].tolist()):
            if index < 0:  # a filler
                continue
            truth = trainer.datamodule.full_mask(index)  # type: ignore[attr-defined]
            logits = outputs["logits"][k]
            classes = len(logits)
            found = full_size_classes(logits, truth.shape).cpu()
            perfect = full_size_classes(_perfect(batch["mask"][k].cpu(), classes), truth.shape)
            banded = np.where(boundary_band(truth), truth, IGNORE_INDEX).astype(np.uint8)
            self.counts["original"][index] = _matrix(found, truth, classes)
            self.counts["band"][index] = _matrix(found, banded, classes)
            self.counts["ceiling"][index] = _matrix(perfect, truth, classes)
            self.counts["network"][index] = outputs["confusion"][k].cpu()
            self._seen[index] = 1

    def _finish(self, trainer: Trainer) -> None:
        """Every image was counted by one process, so that sums put all together."""
        if not self.counts:
            return

        def added(counts: Tensor) -> Tensor:
            return trainer.strategy.reduce(counts.to(trainer.strategy.root_device), reduce_op="sum").cpu()

        self.counts = {name: added(counts) for name, counts in self.counts.items()}
        self._seen = added(self._seen)


def _score(scores: ImageScores) -> Score:
    return Score(torch.from_numpy(scores.total()), scores.protocol, None, scores.classes)


def _perfect(mask: Tensor, classes: int) -> Tensor:
    """Logits `[C,h,w]` of a network without fault; where the mask is void, the neighbours decide."""
    hot = functional.one_hot(torch.where(mask < classes, mask, classes).long(), classes + 1)  # [h,w,C+1]
    return hot[..., :classes].float().permute(2, 0, 1)


def _matrix(prediction: Tensor, truth: np.ndarray[Any, np.dtype[np.uint8]], classes: int) -> Tensor:
    return confusion_matrices(prediction[None], torch.from_numpy(truth)[None], classes)[0]
