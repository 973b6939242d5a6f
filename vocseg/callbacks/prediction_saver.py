"""Predicted masks and label-error data of a test run."""

import contextlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from vocseg.data.classes import Colour
from vocseg.data.mask_png import save_mask
from vocseg.errors import UserError
from vocseg.metrics.label_errors import (
    COLUMNS,
    FOLDER,
    REGIONS,
    DataLocation,
    LabelErrorData,
    disagreement,
    prediction_path,
)
from vocseg.utils.atomic_write import AtomicFolder

_SCORING = ("validate", "test")


class PredictionSaver:
    """Writes the pictures of a `test` or `validate` as they come, and `evidence.npz` at its end.

    Every process writes the pictures of its own images; their figures are added up at the end.
    """

    def __init__(self, wanted: bool) -> None:
        """Whether to keep evidence at all."""
        self._wanted = wanted
        self._folder: Path | None = None
        self._pictures: AtomicFolder | None = None
        self._split: Any = None
        self._palette: Sequence[Colour] = ()
        self._regions = self._seen = torch.zeros(0)  # `[N,R,8]`, `[N]`

    def begin(self, trainer: Trainer, module: LightningModule, counting: bool) -> None:
        """Start, if images will be scored at their own size and the run has a folder; on every process.

        Raises:
            UserError: If there can be no folder for the pictures.
        """
        self._folder = self._pictures = None
        folder = trainer.log_dir  # broadcast, so it is asked for whatever follows
        verb = trainer.state.fn
        scoring = verb is not None and verb.value in _SCORING and not trainer.fast_dev_run  # type: ignore[attr-defined]
        if not (self._wanted and counting and scoring and folder):
            return
        self._folder = Path(folder)
        self._split = trainer.datamodule.parts["val"].split  # type: ignore[attr-defined]
        self._palette = module.class_list.palette  # type: ignore[union-attr,assignment]
        self._regions = torch.zeros(len(self._split), REGIONS, COLUMNS)
        self._seen = torch.zeros(len(self._split))
        with _said(self._folder / FOLDER):
            self._pictures = AtomicFolder(self._folder / FOLDER)

    def add(self, index: int, logits: Tensor, found: Tensor, truth: "np.ndarray[Any, Any]") -> None:
        """Keep what there is to see of an image.

        Args:
            index: Its position.
            logits: float `[C,h,w]` at any size; logarithms of probabilities are logits too.
            found: Predicted classes, uint8 `[H,W]`, at the picture's own size.
            truth: Its mask, uint8 `[H,W]`.

        Raises:
            UserError: If the picture cannot be written.
        """
        if self._folder is None or self._pictures is None:
            return
        best, label = _surest(logits)
        self._regions[index] = torch.from_numpy(disagreement(best, label, truth))
        self._seen[index] = 1
        path = prediction_path(self._folder, self._split.ids[index])
        png = io.BytesIO()
        save_mask(found.to(torch.uint8).cpu().numpy(), png, self._palette, compress_level=1)
        with _said(path):
            self._pictures.write(path.name, png.getvalue())

    def finish(self, trainer: Trainer) -> None:
        """Give the pictures their place, put the processes' figures together, and write them on the main one.

        Raises:
            UserError: If something cannot be written.
        """
        if self._folder is None or self._pictures is None:
            return
        with _said(self._folder / FOLDER):
            self._pictures.settle()
        device, reduce = trainer.strategy.root_device, trainer.strategy.reduce
        regions, seen = (
            reduce(each.to(device), reduce_op="sum").cpu() for each in (self._regions, self._seen)
        )
        with _said(self._folder / FOLDER):
            self._pictures.reveal()  # all have settled, as figures were added up
        if trainer.is_global_zero:
            rows = np.flatnonzero(seen.numpy())
            ids = tuple(self._split.ids[k] for k in rows)
            LabelErrorData(ids, regions.numpy()[rows], _origin(trainer, self._split)).save(self._folder)

    def drop(self) -> None:
        """Leave no pictures of a pass that did not come to its end."""
        if self._pictures is not None:
            self._pictures.drop()


@contextlib.contextmanager
def _said(path: Path) -> Iterator[None]:
    """Turn what the system says into a sentence."""
    try:
        yield
    except OSError as fault:
        raise UserError(
            f"{path} cannot be written ({fault.strerror}): make room, or score without pictures "
            "(--original_resolution.save_predictions false)"
        ) from fault


def _surest(logits: Tensor) -> tuple["np.ndarray[Any, Any]", "np.ndarray[Any, Any]"]:
    """Probability float32 `[h,w]` of the best class, and that class, uint8 `[h,w]`."""
    best, label = logits.detach().float().max(0)
    share = 1 / (logits.detach().float() - best).exp_().sum(0)
    return share.cpu().numpy(), label.to(torch.uint8).cpu().numpy()


def _origin(trainer: Trainer, split: Any) -> DataLocation:
    layout, classes = split.layout, split.classes
    root = Path(trainer.datamodule.root)  # type: ignore[attr-defined]
    return DataLocation(
        str(root),
        str(layout.folder.resolve()),
        layout.image_folder,
        layout.image_suffix,
        split.name,
        classes.names,
        classes.colours,
        classes.values,
        classes.void,
        classes.coloured,
        layout.mask_folder,
        layout.mask_suffix,
    )
