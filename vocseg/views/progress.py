"""The bar that shows how far a run is."""

from typing import Any

from jsonargparse.typing import PositiveInt
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from torch import Tensor

_LOSS = "loss"


class ProgressBar(RichProgressBar):
    """Lightning's rich bar, with the figures a person waits for.

    Args:
        refresh_rate: Batches between two updates; a GPU is made to wait for the figures of each.
    """

    def __init__(self, refresh_rate: PositiveInt = 1) -> None:
        super().__init__(refresh_rate=refresh_rate)
        self._figures: dict[str, Any] = {}
        self._loss: Tensor | None = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the loss where it is: only what is shown is fetched."""
        self._loss = outputs.get("loss") if outputs else None
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """The newest step's loss, and what is logged for the bar; no version's number, which tells nothing.

        Lightning asks for them after every batch, and fetching them makes a GPU wait: those of the last
        update are given until the next one.
        """
        epoch = trainer.fit_loop.epoch_loop
        between = trainer.training and not epoch.batch_progress.is_last_batch
        if not (between and self._figures and (epoch.batch_idx + 1) % self.refresh_rate):
            figures: dict[str, Any] = super().get_metrics(trainer, pl_module)
            shown = {} if self._loss is None else {_LOSS: float(self._loss)}
            self._figures = {name: value for name, value in figures.items() if name != "v_num"} | shown
        return dict(self._figures)

    def _get_train_description(self, current_epoch: int) -> str:
        """Count epochs from 1, as the lines in between do; padded against flickering."""
        last = self.trainer.max_epochs
        text = f"epoch {current_epoch + 1}" + (f"/{last}" if last and last > 0 else "")
        return f"{text:{len(self.validation_description)}}"
