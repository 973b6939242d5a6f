"""Masks and overlays of `predict`."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor

from vocseg.callbacks import find_callback
from vocseg.callbacks.original_resolution import OriginalResolutionEval
from vocseg.data.classes import ClassList
from vocseg.data.image_io import Bytes
from vocseg.errors import UserError
from vocseg.inference.result import Result, split_probabilities
from vocseg.utils.gather import from_all
from vocseg.utils.streams import Streams

RESULTS = "predictions.json"


class PredictionWriter(BasePredictionWriter):
    """Writes `masks/NAME.png` (class indices with a palette) and `overlays/NAME.jpg`.

    Args:
        output_dir: Folder of the results. Default: the run directory.
        confidence: Additional images `confidence/NAME.png` with the predicted class's probability (grey, 0 to
            255).
        video_masks: Masks of a video's frames, `masks/NAME/000000.png` and so on, beside its overlay.
    """

    def __init__(
        self, output_dir: Path | None = None, confidence: bool = False, video_masks: bool = False
    ) -> None:
        super().__init__(write_interval="batch")
        self.folder, self.confidence, self.video_masks = output_dir, confidence, video_masks
        self.seconds: float | None = None  # duration; set at the end
        self.unreadable: dict[str, str] = {}  # reasons by image
        self.windows: str | None = None  # label of sliding windows, if used
        self.images: dict[str, dict[str, Any]] = {}  # size, files and area of each class by image
        self._started = 0.0  # seconds of `time.monotonic`
        self._full: OriginalResolutionEval | None = None  # set if sliding windows are used
        self._streams: Streams | None = None  # writes while the network computes

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
        self.images, self._started = {}, time.monotonic()
        full = find_callback(trainer, OriginalResolutionEval)
        self._full = full if full is not None and full.window else None
        self.windows = None if self._full is None else f"stride {self._full.stride:g}"
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        data.predict_dataset.keep = not data.num_workers  # images do not come back from other processes
        self._streams = Streams(torch.get_num_threads())

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
        module: Any = pl_module
        predict_dataset = trainer.datamodule.predict_dataset  # type: ignore[attr-defined]
        for logits, index in zip(prediction, batch["index"].tolist(), strict=True):
            if index < 0:  # padding, or an image that cannot be read
                continue
            path, name = predict_dataset.files[index], predict_dataset.names[index]
            shown = predict_dataset.name_of(path)
            try:
                image = predict_dataset.full_image(index)
            except UserError as error:  # changed since its batch was read
                predict_dataset.left_out[shown] = error.sentence
                continue
            of_image = partial(self._write, shown, image, module.class_list, name, path)
            if self._full is None:
                assert self._streams is not None
                self._streams.put(of_image, logits)
            else:  # the logits of the resized image are not used; those of a large image take a gigabyte
                of_image(*split_probabilities(self._full.probabilities(trainer, module, image)))

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert self.folder is not None
        assert self._streams is not None
        self._streams.wait()
        self._streams.close()
        predict_dataset = trainer.datamodule.predict_dataset  # type: ignore[attr-defined]
        each = from_all((self.images, predict_dataset.left_out), trainer.world_size)
        self.images = dict(sorted((name, facts) for part, _ in each for name, facts in part.items()))
        self.unreadable = dict(sorted((name, why) for _, part in each for name, why in part.items()))
        self.seconds = time.monotonic() - self._started

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self._streams is not None:
            self._streams.close()

    def _write(
        self,
        shown: str,
        image: Bytes,
        classes: ClassList,
        name: str,
        path: Path,
        logits: Tensor,
        mask: Bytes | None = None,
    ) -> None:
        """Write the results of an image, and add its entry of `predictions.json`."""
        assert self.folder is not None
        result = Result(image, logits, classes, name, path, mask)
        files = result.save(self.folder, self.confidence)
        height, width = result.mask.shape
        self.images[shown] = {"width": width, "height": height, **files, "classes": result.areas}
