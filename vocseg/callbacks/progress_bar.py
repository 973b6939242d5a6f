"""Progress bar with a bounded refresh rate."""

import time
from typing import Any

from jsonargparse.typing import PositiveFloat
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from torch import Tensor

_DRAWN = 2  # times a second, each some milliseconds of a core; a run ends up to half a second late for it


class ProgressBar(RichProgressBar):
    """Lightning's rich progress bar with the logged metrics.

    Args:
        max_updates_per_second: Largest number of metric updates per second. Each makes a GPU wait.

    """

    def __init__(self, max_updates_per_second: PositiveFloat = 2.0) -> None:
        super().__init__(refresh_rate=_DRAWN)
        self._interval = 1 / float(max_updates_per_second)  # seconds
        self._metrics: dict[str, Any] = {}
        self._fetched_at = 0.0  # seconds of `time.monotonic`
        self._loss: Tensor | None = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._loss = outputs.get("loss") if outputs else None
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """Return the last step's loss and the logged metrics. Between updates, the previous values."""
        between = trainer.training and not trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        recent = time.monotonic() - self._fetched_at < self._interval
        if not (between and self._metrics and recent):
            metrics: dict[str, Any] = super().get_metrics(trainer, pl_module)
            metrics.pop("v_num", None)
            self._metrics = metrics | ({} if self._loss is None else {"loss": float(self._loss)})
            self._fetched_at = time.monotonic()
        return dict(self._metrics)

    def _get_train_description(self, current_epoch: int) -> str:
        """Count epochs from 1, padded against flickering."""
        last = self.trainer.max_epochs
        text = f"epoch {current_epoch + 1}" + (f"/{last}" if last and last > 0 else "")
        return f"{text:{len(self.validation_description)}}"
