"""Masks and overlays of `predict`."""

import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from PIL import Image
from torch import Tensor

from vocseg.callbacks.original_resolution import OriginalResolutionEval
from vocseg.callbacks.skipped_samples import from_all
from vocseg.data.classes import ClassList
from vocseg.data.image_io import Bytes, read_image
from vocseg.data.mask_png import save_mask
from vocseg.errors import UserError
from vocseg.metrics.upsample import argmax_upsampled, full_size_confidence
from vocseg.utils.atomic_write import atomic_write
from vocseg.visualization.draw import labelled_overlay

RESULTS = "predictions.json"


class Predicted(NamedTuple):
    """Results of `predict`.

    Attributes:
        folder: Folder of masks and overlays.
        source: Folder or image that was predicted.
        images: Size, files and area of each class by image.
        unreadable: Reasons by image that cannot be read.
        other_files: Reasons by file that is not an image.
        seconds: Duration.
        confidence: Whether confidence images were written.
    """

    folder: Path
    source: str
    images: dict[str, dict[str, Any]]
    unreadable: dict[str, str]
    other_files: dict[str, str]
    seconds: float
    confidence: bool

    def as_dict(self) -> dict[str, Any]:
        """Return the content of `predictions.json`."""
        return {
            "source": self.source,
            "folder": str(self.folder),
            "images": self.images,
            "left_out": self.unreadable | self.other_files,
        }


class PredictionWriter(BasePredictionWriter):
    """Writes `masks/NAME.png` (class indices with a palette) and `overlays/NAME.jpg`.

    Args:
        output_dir: Folder of the results. Default: the run directory.
        confidence: Additional images `confidence/NAME.png` with the predicted class's probability (grey, 0 to
            255).
    """

    def __init__(self, output_dir: Path | None = None, confidence: bool = False) -> None:
        super().__init__(write_interval="batch")
        self.folder, self.confidence = output_dir, confidence
        self.predicted: Predicted | None = None  # set at the end
        self.windows: str | None = None  # label of sliding windows, if used
        self._images: dict[str, dict[str, Any]] = {}
        self._started = 0.0  # seconds of `time.monotonic`
        self._full: OriginalResolutionEval | None = None  # set if sliding windows are used

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        log_dir = trainer.log_dir  # on every process: it is broadcast
        self.folder = Path(self.folder or log_dir or trainer.default_root_dir)
        for name in ("masks", "overlays", *(["confidence"] if self.confidence else [])):
            try:
                (self.folder / name).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UserError(
                    f"--prediction_writer.output_dir {self.folder} cannot be used ({error.strerror}). "
                    "Use another folder."
                ) from error
        self._images, self._started = {}, time.monotonic()
        callbacks: Any = trainer.callbacks  # type: ignore[attr-defined]
        self._full = next(
            (each for each in callbacks if isinstance(each, OriginalResolutionEval) and each.window), None
        )
        self.windows = None if self._full is None else f"stride {self._full.stride:g}"

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
        predict_dataset = trainer.datamodule.predict_dataset  # type: ignore[attr-defined]
        for logits, index in zip(prediction, batch["index"].tolist(), strict=True):
            if index < 0:  # padding, or an image that cannot be read
                continue
            name = predict_dataset.name_of(predict_dataset.files[index])
            try:
                image = read_image(predict_dataset.files[index], exif=True)
            except UserError as error:  # changed since its batch was read
                predict_dataset.left_out.reasons[name] = error.sentence
            else:
                found = self._find(trainer, pl_module, logits, image)
                self._images[name] = self._write(found, image, predict_dataset.names[index], pl_module)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert self.folder is not None
        predict_dataset = trainer.datamodule.predict_dataset  # type: ignore[attr-defined]
        each = from_all((self._images, predict_dataset.left_out.reasons), trainer.world_size)
        images = {name: facts for part, _ in each for name, facts in part.items()}
        unreadable = {name: why for _, part in each for name, why in part.items()}
        self.predicted = Predicted(
            self.folder,
            str(predict_dataset.source),
            dict(sorted(images.items())),
            dict(sorted(unreadable.items())),
            predict_dataset.other_files,
            time.monotonic() - self._started,
            self.confidence,
        )

    def _find(
        self, trainer: Trainer, module: Any, logits: Tensor, image: Bytes
    ) -> tuple[Bytes, Bytes | None]:
        """Return classes at the original resolution, uint8 `[H,W]`, and optionally their probabilities."""
        if self._full is None:
            shape = (image.shape[0], image.shape[1])
            confidence = full_size_confidence(logits, shape) if self.confidence else None
            return full_size_mask(logits, shape), None if confidence is None else _grey(confidence)
        # With windows, the logits of the resized image are not used.
        confidence, best = self._full.probabilities(trainer, module, image).max(0)
        return np.asarray(best.cpu().numpy(), np.uint8), _grey(confidence) if self.confidence else None

    def _write(
        self, found: tuple[Bytes, Bytes | None], image: Bytes, name: str, module: Any
    ) -> dict[str, Any]:
        """Write the results of an image, and return its entry of `predictions.json`."""
        assert self.folder is not None
        try:
            files = write_prediction(image, *found, self.folder, name, module.class_list)
        except UserError:
            raise
        except OSError as error:
            raise UserError(
                f"{self.folder}: the results of {name} cannot be written ({error.strerror}). "
                "Set another folder with --prediction_writer.output_dir."
            ) from error
        height, width = image.shape[:2]
        return {"width": width, "height": height, **files, "classes": _areas(found[0], module.class_list)}


def full_size_mask(logits: Tensor, shape: Sequence[int]) -> Bytes:
    """Return the best class of every pixel at the original resolution.

    Args:
        logits: Logits `[C,h,w]` at the input resolution.
        shape: Height and width of the image.

    Returns:
        uint8 `[H,W]`.
    """
    height, width = shape
    return np.asarray(argmax_upsampled(logits, (height, width)).cpu().numpy(), np.uint8)


def write_prediction(
    image: Bytes, mask: Bytes, confidence: Bytes | None, folder: Path, name: str, classes: ClassList
) -> dict[str, str]:
    """Write mask, overlay and optionally confidence.

    Args:
        image: RGB uint8 `[H,W,3]`.
        mask: Class indices uint8 `[H,W]`.
        confidence: Probability of the predicted class, uint8 `[H,W]`, 255 for 1.
        folder: Parent of a folder for each kind.
        name: File name without extension. May contain folders.
        classes: The classes.

    Returns:
        Relative paths by kind.
    """
    mask_file, overlay_file = io.BytesIO(), io.BytesIO()
    save_mask(mask, mask_file, classes.palette)
    Image.fromarray(labelled_overlay(image, mask, classes)).save(overlay_file, "JPEG", quality=92)
    files = {"mask": (f"masks/{name}.png", mask_file), "overlay": (f"overlays/{name}.jpg", overlay_file)}
    if confidence is not None:
        grey = io.BytesIO()
        Image.fromarray(confidence).save(grey, "PNG")
        files["confidence"] = (f"confidence/{name}.png", grey)
    for path, content in files.values():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        atomic_write(folder / path, content.getvalue())
    return {kind: path for kind, (path, _) in files.items()}


def _grey(probabilities: Tensor) -> Bytes:
    """Probabilities `[H,W]` as uint8, 255 for 1."""
    return np.asarray((probabilities * 255).round().cpu().numpy(), np.uint8)


def _areas(mask: Bytes, classes: ClassList) -> dict[str, dict[str, float]]:
    """Pixels and fraction of the image of each class in it."""
    counts = np.bincount(mask.ravel(), minlength=len(classes)).tolist()
    return {
        name: {"pixels": count, "share": count / mask.size}
        for name, count in zip(classes.names, counts, strict=True)
        if count
    }
