"""Input, ground truth and prediction in loggers."""

import contextlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jsonargparse.typing import NonNegativeInt
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from vocseg.data.classes import ClassList
from vocseg.data.dataset import VOCSegmentation
from vocseg.errors import UserError
from vocseg.metrics.confusion import confusion_matrices, mean_iou
from vocseg.utils.atomic_write import atomic_write
from vocseg.visualization.draw import Bytes, panel, sheet
from vocseg.visualization.logged_images import image_loggers, log_image, logged_step, png
from vocseg.visualization.tables import percent


class ImagePanels(Callback):
    """Logs input, ground truth, prediction and errors of fixed validation images.

    They are written to TensorBoard, W&B and MLflow, and to `panels.png` in the run directory, after every
    validation.

    Args:
        num_images: Number of images, spread evenly over the split. 0 disables the panels.
    """

    def __init__(self, num_images: NonNegativeInt = 6) -> None:
        self.images = num_images
        self._chosen: set[int] = set()  # positions in the main process's order
        self._samples: list[tuple[Tensor, Tensor]] = []  # index; image, mask and prediction uint8 `[5,H,W]`
        self._batch_size = 0

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._samples = []
        loader = trainer.val_dataloaders
        reach = min(len(loader.sampler), int(trainer.num_val_batches[0]) * loader.batch_size) if loader else 0
        self._batch_size = loader.batch_size if loader else 0
        count = min(self.images, reach)
        self._chosen = {k * reach // count for k in range(count)}

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Store the chosen images on their device: copying them would make a GPU wait."""
        if not trainer.is_global_zero or trainer.sanity_checking:
            return
        first = batch_idx * self._batch_size
        for k in range(len(batch["index"])):
            if first + k in self._chosen:
                pixels = batch["image"][k], batch["mask"][k][None], outputs["prediction"][k][None]
                self._samples.append((batch["index"][k].clone(), torch.cat(pixels)))  # [5,H,W]

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        folder = trainer.log_dir  # on every process: it is broadcast
        drawn = self._draw(trainer, pl_module.class_list) if trainer.is_global_zero else []  # type: ignore[arg-type]
        if not drawn:
            return
        image = sheet(drawn)
        encoded = png(image)
        log_image(image_loggers(trainer.loggers), "validation/panels", image, encoded, logged_step(trainer))
        try:
            # A folder that was renamed is not made anew: saving the checkpoint reports it.
            if folder is not None and trainer.loggers and Path(folder).is_dir():
                atomic_write(Path(folder) / "panels.png", encoded)
        except OSError as error:
            warnings.warn(f"vocseg: panels cannot be written to {folder} ({error})", stacklevel=2)

    def _draw(self, trainer: Trainer, classes: ClassList) -> list[Bytes]:
        """Draw a panel of each image that was read, in the order of the split.

        Images of our dataset have their own proportions, their id and their IoU at the input resolution.
        """
        if not self._samples:
            return []
        indices, pixels = (torch.stack(each).cpu() for each in zip(*self._samples, strict=True))
        self._samples = []
        found = [
            (index, one) for index, one in zip(indices.tolist(), pixels.numpy(), strict=True) if index >= 0
        ]
        dataset: Any = getattr(trainer.val_dataloaders, "dataset", None)
        panels = []
        for index, one in sorted(found, key=lambda each: each[0]):
            image, truth, prediction = np.ascontiguousarray(one[:3].transpose(1, 2, 0)), one[3], one[4]
            title = ""
            if isinstance(dataset, VOCSegmentation):
                predicted, mask = torch.from_numpy(one[4:]), torch.from_numpy(one[3:4])
                counts = confusion_matrices(predicted, mask, len(classes.names))
                title = f"{dataset.split.ids[index]}   mean IoU {percent(mean_iou(counts[0]).item())} %"
                with contextlib.suppress(UserError):  # removed since it was read
                    image = dataset.full_image(index)
            panels.append(panel(image, truth, prediction, classes, title=title))
        return panels
