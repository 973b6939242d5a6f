"""Per-image confusion matrices while a split is scored."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from vocseg.metrics.calibration import BINS, Calibration, calibration_counts, confidences
from vocseg.metrics.per_image import PerImageConfusion
from vocseg.metrics.protocol import Protocol
from vocseg.models.metadata import protocol_of
from vocseg.models.module import SegmentationModule

_AT_ONCE = 256  # images whose matrices wait on a GPU


class PerImageAccumulator:
    """One matrix of each kind an image, 4 bytes a cell: 1.8 KB with 21 classes, and nothing else an image."""

    def __init__(self, kinds: Sequence[str], images: int, classes: int) -> None:
        """Start at zero.

        Args:
            kinds: Names of the matrices.
            images: Length of the split, N.
            classes: Number of classes, C.
        """
        self.matrices = {kind: torch.zeros(images, classes, classes, dtype=torch.int32) for kind in kinds}
        self._waiting: list[tuple[int, dict[str, Tensor]]] = []
        self._scored = torch.zeros(images, dtype=torch.int32)  # `[N]`: 1 for an image that was

    def put(self, index: Tensor, **matrices: Tensor) -> None:
        """Keep images' matrices.

        Args:
            index: Their positions, int64 `[M]`; -1: a filler, which is left out.
            matrices: By kind, integers `[M,C,C]`.
        """
        index = index.cpu()
        rows = index[index >= 0]
        for kind, each in matrices.items():
            self.matrices[kind][rows] = each.to("cpu", torch.int32)[index >= 0]
        self._scored[rows] = 1

    def put_later(self, index: int, matrices: dict[str, Tensor]) -> None:
        """Keep an image's matrices where they are: a GPU's are fetched many at once.

        Args:
            index: Its position.
            matrices: By kind, integers `[C,C]`.
        """
        self._waiting.append((index, matrices))
        if len(self._waiting) >= _AT_ONCE:
            self._fetch()

    def _fetch(self) -> None:
        waiting, self._waiting = self._waiting, []
        if waiting:
            index = torch.tensor([index for index, _ in waiting])
            kinds = waiting[0][1]
            self.put(index, **{kind: torch.stack([each[kind] for _, each in waiting]) for kind in kinds})

    def gather(self, trainer: Trainer) -> None:
        """Put all processes' images together: each was counted by one, so that sums do."""
        self._fetch()
        self.matrices = {kind: summed(trainer, each) for kind, each in self.matrices.items()}
        self._scored = summed(trainer, self._scored)

    @property
    def rows(self) -> npt.NDArray[np.intp]:
        """Positions of the images that were scored: not all with --trainer.limit_test_batches."""
        return np.flatnonzero(self._scored.numpy())

    def scores(
        self,
        kind: str,
        protocol: Protocol,
        names: tuple[str, ...],
        ids: Sequence[str],
        band: str | None = None,
    ) -> PerImageConfusion:
        """What was counted, as it is kept in files.

        Args:
            kind: Of the matrices.
            protocol: How they were counted.
            names: Of the classes.
            ids: Of all images of the split.
            band: Kind of the matrices near a boundary; None: there are none.
        """
        seen = self.rows
        near = None if band is None else self._of(band)
        return PerImageConfusion(tuple(ids[k] for k in seen), self._of(kind), protocol, names, near)

    def _of(self, kind: str) -> npt.NDArray[np.int64]:
        return self.matrices[kind].numpy()[self.rows].astype(np.int64)


def summed(trainer: Trainer, counts: Tensor) -> Tensor:
    """Integers added up over all processes, on the processor."""
    return trainer.strategy.reduce(counts.to(trainer.strategy.root_device), reduce_op="sum").cpu()


def scored_data(trainer: Trainer, module: Any) -> Any:
    """The data module whose images are being scored; None if there is none, or nothing to be scored."""
    data = getattr(trainer, "datamodule", None)
    return data if isinstance(module, SegmentationModule) and not trainer.sanity_checking else None


class PerImageMetrics(Callback):
    """Keeps the newest scoring epoch image by image, and outside of training, how sure the network was.

    A step's matrices stay where they are until the epoch ends, so that no device waits.
    """

    def __init__(self) -> None:
        self._counts: PerImageAccumulator | None = None
        self._parts: list[tuple[Tensor, Tensor]] = []
        self._bins: Tensor | None = None  # int64 `[15,3]`
        self._counting = False

    def scores(self, trainer: Trainer, module: SegmentationModule) -> PerImageConfusion | None:
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
        self._counts = PerImageAccumulator(("network",), data.facts("val")["images"], pl_module.num_classes)
        if self._parts:
            index, matrices = (torch.cat(each) for each in zip(*self._parts, strict=True))
            self._counts.put(index, network=matrices)
        self._parts = []
        self._counts.gather(trainer)
        self._bins = None if self._bins is None else summed(trainer, self._bins)

    on_test_start = on_validation_start
    on_test_batch_end = on_validation_batch_end
    on_test_epoch_end = on_validation_epoch_end


def newest_image_scores(trainer: Trainer, module: SegmentationModule) -> PerImageConfusion | None:
    """The newest scoring epoch image by image, if the trainer keeps it."""
    kept = per_image_metrics(trainer)
    return kept.scores(trainer, module) if kept else None


def per_image_metrics(trainer: Trainer) -> PerImageMetrics | None:
    """The trainer's `PerImageMetrics`, if it has one."""
    callbacks: Any = trainer.callbacks  # type: ignore[attr-defined]
    return next((each for each in callbacks if isinstance(each, PerImageMetrics)), None)
