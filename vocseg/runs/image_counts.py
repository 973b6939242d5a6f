"""Confusion matrices of a split's images while it is scored, each by one of the processes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import Trainer
from torch import Tensor

from vocseg.model import SegmentationModule
from vocseg.scores import ImageScores, Protocol

_AT_ONCE = 256  # images whose matrices wait on a GPU


class ImageCounts:
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
    ) -> ImageScores:
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
        return ImageScores(tuple(ids[k] for k in seen), self._of(kind), protocol, names, near)

    def _of(self, kind: str) -> npt.NDArray[np.int64]:
        return self.matrices[kind].numpy()[self.rows].astype(np.int64)


def summed(trainer: Trainer, counts: Tensor) -> Tensor:
    """Integers added up over all processes, on the processor."""
    return trainer.strategy.reduce(counts.to(trainer.strategy.root_device), reduce_op="sum").cpu()


def scored_data(trainer: Trainer, module: Any) -> Any:
    """The data module whose images are being scored; None if there is none, or nothing to be scored."""
    data = getattr(trainer, "datamodule", None)
    return data if isinstance(module, SegmentationModule) and not trainer.sanity_checking else None
