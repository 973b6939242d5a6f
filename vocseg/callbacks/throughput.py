"""Images per second and the fraction of time spent waiting for data."""

import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class Throughput(Callback):
    """Logs `speed/images_per_s` over all devices and `speed/data_wait`, a fraction of the time, per epoch."""

    def __init__(self) -> None:
        self._seconds = self._since = 0.0
        self._images = 0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._seconds, self._images, self._since = 0.0, 0, time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.perf_counter()
        self._seconds, self._since = self._seconds + now - self._since, now
        self._images += len(batch["index"]) * trainer.world_size

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Exclude a validation within the epoch."""
        self._since = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._seconds:
            return
        pl_module.log("speed/images_per_s", self._images / self._seconds, rank_zero_only=True)
        if (waited := getattr(trainer.train_dataloader, "waited", None)) is not None:
            pl_module.log("speed/data_wait", min(1.0, waited / self._seconds), rank_zero_only=True)
