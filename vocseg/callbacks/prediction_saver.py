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
from vocseg.data.image_io import save_mask
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
    """Writes predicted masks during `test` or `validate`, and label-error data at its end.

    Every process writes the masks of its images. Label-error data is summed at the end.
    """

    def __init__(self, enabled: bool) -> None:
        self._enabled = enabled
        self._folder: Path | None = None
        self._masks: AtomicFolder | None = None
        self._split: Any = None
        self._palette: Sequence[Colour] = ()
        self._regions = self._seen = torch.zeros(0)  # `[N,R,8]`, `[N]`

    def begin(self, trainer: Trainer, module: LightningModule, counting: bool) -> None:
        """Start if images are scored at the original resolution in a run directory, on all processes."""
        self._folder = self._masks = None
        folder = trainer.log_dir  # on every process: it is broadcast
        verb = trainer.state.fn
        scoring = verb is not None and verb.value in _SCORING and not trainer.fast_dev_run  # type: ignore[attr-defined]
        if not (self._enabled and counting and scoring and folder):
            return
        self._folder = Path(folder)
        self._split = trainer.datamodule.parts["val"].split  # type: ignore[attr-defined]
        self._palette = module.class_list.palette  # type: ignore[union-attr,assignment]
        self._regions = torch.zeros(len(self._split), REGIONS, COLUMNS)
        self._seen = torch.zeros(len(self._split))
        with _translated(self._folder / FOLDER):
            self._masks = AtomicFolder(self._folder / FOLDER)

    def add(self, index: int, logits: Tensor, found: Tensor, truth: "np.ndarray[Any, Any]") -> None:
        """Write the mask of an image, and store its label-error data.

        Args:
            index: Position of the image.
            logits: Logits or log-probabilities, float `[C,h,w]` at any resolution.
            found: Predicted classes at the original resolution, uint8 `[H,W]`.
            truth: Ground truth, uint8 `[H,W]`.

        Raises:
            UserError: If the mask cannot be written.
        """
        if self._folder is None or self._masks is None:
            return
        best, label = logits.detach().float().max(0)
        confidence = 1 / (logits.detach().float() - best).exp_().sum(0)  # softmax of the best class
        regions = disagreement(confidence.cpu().numpy(), label.to(torch.uint8).cpu().numpy(), truth)
        self._regions[index] = torch.from_numpy(regions)
        self._seen[index] = 1
        path = prediction_path(self._folder, self._split.ids[index])
        png = io.BytesIO()
        save_mask(found.to(torch.uint8).cpu().numpy(), png, self._palette, compress_level=1)
        with _translated(path):
            self._masks.write(path.name, png.getvalue())

    def finish(self, trainer: Trainer) -> None:
        """Rename the folder of masks, and write the summed label-error data on the main process."""
        if self._folder is None or self._masks is None:
            return
        with _translated(self._folder / FOLDER):
            self._masks.settle()
        device, reduce = trainer.strategy.root_device, trainer.strategy.reduce
        regions, seen = (
            reduce(each.to(device), reduce_op="sum").cpu() for each in (self._regions, self._seen)
        )
        with _translated(self._folder / FOLDER):
            self._masks.reveal()  # all processes have settled, as they were reduced
        if trainer.is_global_zero:
            rows = np.flatnonzero(seen.numpy())
            ids = tuple(self._split.ids[k] for k in rows)
            LabelErrorData(ids, regions.numpy()[rows], _origin(trainer, self._split)).save(self._folder)

    def drop(self) -> None:
        """Remove the masks of an interrupted pass."""
        if self._masks is not None:
            self._masks.drop()


@contextlib.contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror}). Make room, or score without saving predictions "
            "(--original_resolution.save_predictions false)."
        ) from error


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
