"""Per-image confusion matrices and calibration of a scored split."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from vocseg.callbacks import find_callback
from vocseg.metrics.calibration import BINS, Calibration, calibration_counts, confidences
from vocseg.metrics.per_image import PerImageConfusion, Protocol
from vocseg.models.metadata import protocol_of
from vocseg.models.module import SegmentationModule

_MAX_PENDING = 256  # images whose matrices stay on their device


class PerImageAccumulator:
    """Confusion matrices of each image by kind, int32: 1.8 KB per image with 21 classes."""

    def __init__(self, kinds: Sequence[str], images: int, classes: int) -> None:
        self.matrices = {kind: torch.zeros(images, classes, classes, dtype=torch.int32) for kind in kinds}
        self._pending: list[tuple[Tensor, dict[str, Tensor]]] = []
        self._scored = torch.zeros(images, dtype=torch.int32)  # `[N]`: 1 if the image was scored

    def put(self, index: Tensor, matrices: dict[str, Tensor]) -> None:
        """Store matrices on their device. They are copied to the CPU for many images at a time.

        Args:
            index: Positions of the images, int64 `[M]`. -1: padding, which is ignored.
            matrices: Integers `[M,C,C]` by kind.
        """
        self._pending.append((index, matrices))
        if sum(len(each) for each, _ in self._pending) >= _MAX_PENDING:
            self.fetch()

    def fetch(self) -> None:
        """Copy the stored matrices to the CPU."""
        pending, self._pending = self._pending, []
        if not pending:
            return
        index = torch.cat([each for each, _ in pending]).cpu()
        rows = index[index >= 0]
        for kind, kept in self.matrices.items():
            kept[rows] = torch.cat([each[kind].int() for _, each in pending]).cpu()[index >= 0]
        self._scored[rows] = 1

    def gather(self, trainer: Trainer) -> None:
        """Sum over all processes, each of which scored other images."""
        self.fetch()
        self.matrices = {kind: summed(trainer, each) for kind, each in self.matrices.items()}
        self._scored = summed(trainer, self._scored)

    @property
    def rows(self) -> npt.NDArray[np.intp]:
        """Positions of the scored images: not all with --trainer.limit_test_batches."""
        return np.flatnonzero(self._scored.numpy())

    def scores(
        self,
        kind: str,
        protocol: Protocol,
        names: tuple[str, ...],
        ids: Sequence[str],
        band: str | None = None,
    ) -> PerImageConfusion:
        """Return the matrices of a kind, and of the kind of those near a boundary, with their metadata."""
        rows = self.rows
        found = {each: self.matrices[each].numpy()[rows].astype(np.int64) for each in (kind, band) if each}
        return PerImageConfusion(
            tuple(ids[k] for k in rows), found[kind], protocol, names, found.get(band or "")
        )


def summed(trainer: Trainer, counts: Tensor) -> Tensor:
    """Sum integers over all processes, on the CPU."""
    return trainer.strategy.reduce(counts.to(trainer.strategy.root_device), reduce_op="sum").cpu()


def scored_data(trainer: Trainer, module: Any) -> Any:
    """Return the data module that is being scored, if any."""
    data = getattr(trainer, "datamodule", None)
    return data if isinstance(module, SegmentationModule) and not trainer.sanity_checking else None


class PerImageMetrics(Callback):
    """Collects per-image confusion matrices of the newest epoch, and calibration outside of training."""

    def __init__(self) -> None:
        self._counts: PerImageAccumulator | None = None  # None: nothing is scored
        self._bins: Tensor | None = None  # int64 `[15,3]`

    def scores(self, trainer: Trainer, module: SegmentationModule) -> PerImageConfusion | None:
        """Return the matrices of the newest epoch, if any."""
        data = scored_data(trainer, module)
        if self._counts is None or data is None or not len(self._counts.rows):
            return None
        protocol = protocol_of(data, module, len(self._counts.rows))
        return self._counts.scores("network", protocol, module.class_list.names, data.ids("val"))

    def calibration(self, trainer: Trainer, module: SegmentationModule) -> Calibration | None:
        """Return the calibration of the newest epoch. None in training."""
        found = self.scores(trainer, module)
        if self._bins is None or found is None:
            return None
        return Calibration(self._bins.numpy(), found.protocol)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        data = scored_data(trainer, pl_module)
        self._counts = self._bins = None
        if data is None or not isinstance(pl_module, SegmentationModule):
            return
        self._counts = PerImageAccumulator(("network",), data.facts("val")["images"], pl_module.num_classes)
        if trainer.state.fn != TrainerFn.FITTING:
            self._bins = torch.zeros(BINS, 3, dtype=torch.int64, device=pl_module.device)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *_: Any, **__: Any
    ) -> None:
        if self._counts is None:
            return
        self._counts.put(batch["index"], {"network": outputs["confusion"].int()})
        if self._bins is not None:
            logits, prediction = outputs["logits"], outputs["prediction"]
            confidence = confidences(logits, prediction)
            self._bins += calibration_counts(confidence, prediction, batch["mask"], logits.shape[1])

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._counts is not None:
            self._counts.gather(trainer)
            self._bins = None if self._bins is None else summed(trainer, self._bins)

    on_test_start = on_validation_start
    on_test_batch_end = on_validation_batch_end
    on_test_epoch_end = on_validation_epoch_end


def newest_image_scores(trainer: Trainer, module: SegmentationModule) -> PerImageConfusion | None:
    """Return the per-image matrices of the newest scoring epoch, if the trainer has the callback."""
    metrics = find_callback(trainer, PerImageMetrics)
    return metrics.scores(trainer, module) if metrics else None
