"""Predictions as files: a palette mask and an overlay for every picture."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from PIL import Image
from torch import Tensor

from vocseg.classes import ClassList
from vocseg.data.decoding import Bytes
from vocseg.data.reading import read_image
from vocseg.data.writing import save_mask
from vocseg.scores.upsampling import full_size_classes
from vocseg.views import labelled_overlay
from vocseg.whole_files import write_whole


class MaskWriter(BasePredictionWriter):
    """Writes `masks/NAME.png` (class indices, the classes' colours) and `overlays/NAME.jpg`.

    Args:
        folder: Where to; null: the run's folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__(write_interval="batch")
        self.folder = folder

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the folders."""
        log_dir = trainer.log_dir  # on every process: it is broadcast
        self.folder = Path(self.folder or log_dir or trainer.default_root_dir)
        for name in ("masks", "overlays"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Tensor,
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Write the pictures of a batch; `prediction` holds logits `[N,C,H,W]`."""
        assert self.folder is not None
        classes: Any = pl_module.class_list
        for logits, index in zip(prediction, batch["index"].tolist(), strict=True):
            if index >= 0:  # not a filler
                write_prediction(logits, trainer.datamodule.photographs.files[index], self.folder, classes)  # type: ignore[attr-defined]


def full_size_mask(logits: Tensor, shape: Sequence[int]) -> Bytes:
    """The best class of every pixel of a picture.

    Args:
        logits: `[C,h,w]`, at the network's size.
        shape: Height and width of the picture.

    Returns:
        uint8 `[H,W]`.
    """
    height, width = shape
    return np.asarray(full_size_classes(logits, (height, width)).cpu().numpy(), np.uint8)


def write_prediction(logits: Tensor, picture: Path, folder: Path, classes: ClassList) -> None:
    """Bring logits `[C,H,W]` to a picture's own size, take the best class, and write mask and overlay."""
    image = read_image(picture, exif=True)
    mask = full_size_mask(logits, image.shape[:2])
    drawn, overlaid = io.BytesIO(), io.BytesIO()
    save_mask(mask, drawn, classes.palette)
    Image.fromarray(labelled_overlay(image, mask, classes)).save(overlaid, "JPEG", quality=92)
    write_whole(folder / "masks" / f"{picture.stem}.png", drawn.getvalue())
    write_whole(folder / "overlays" / f"{picture.stem}.jpg", overlaid.getvalue())
