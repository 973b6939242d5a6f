"""A fixed set of validation images, looked at after every epoch."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from jsonargparse.typing import NonNegativeInt
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from vocseg.views.draw import Bytes, panel, sheet
from vocseg.views.png import png, show_png
from vocseg.whole_files import write_whole


class Panels(Callback):
    """Draws input, ground truth, prediction and errors of the same validation images after every epoch.

    They go to TensorBoard (IMAGES) and to `panels.png` in the run's folder.

    Args:
        images: How many, spread evenly over the split; 0: none.
    """

    def __init__(self, images: NonNegativeInt = 6) -> None:
        self.images = images
        self._chosen: set[int] = set()  # places in the main process's order
        self._drawn: dict[int, Bytes] = {}
        self._batch_size = 0

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Choose among the images that the main process will see."""
        self._drawn = {}
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
        """Draw the chosen images of the batch."""
        if not trainer.is_global_zero or trainer.sanity_checking:
            return
        first = batch_idx * self._batch_size
        for k in range(len(batch["index"])):
            if first + k not in self._chosen:  # known without asking, which makes a GPU wait
                continue
            if (index := int(batch["index"][k])) >= 0:  # it could be read
                image = batch["image"][k].permute(1, 2, 0)  # [3,H,W] -> [H,W,3]
                self._drawn[index] = panel(
                    _array(image),
                    _array(batch["mask"][k]),
                    _array(outputs["prediction"][k]),
                    pl_module.class_list,  # type: ignore[arg-type]
                )

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show them."""
        folder = trainer.log_dir  # on every process: it is broadcast
        if not self._drawn or not trainer.is_global_zero:
            return
        picture = sheet([self._drawn[index] for index in sorted(self._drawn)])
        packed = png(picture)
        try:
            for logger in trainer.loggers:
                if isinstance(logger, TensorBoardLogger):
                    show_png(logger, "validation/panels", picture, packed, trainer.global_step)
            if folder is not None and trainer.loggers:
                write_whole(Path(folder) / "panels.png", packed)
        except (OSError, ValueError) as fault:  # a ValueError is how TensorBoard's writer words a full disk
            warnings.warn(f"vocseg: no panels could be written to {folder} ({fault})", stacklevel=2)


def _array(pixels: Tensor) -> Bytes:
    return np.ascontiguousarray(pixels.cpu().numpy())
