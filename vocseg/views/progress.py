"""The bar that shows how far a run is."""

from typing import Any

from jsonargparse.typing import PositiveInt
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar


class ProgressBar(RichProgressBar):
    """Lightning's rich bar, with the figures a person waits for.

    Args:
        refresh_rate: Batches between two updates.
    """

    def __init__(self, refresh_rate: PositiveInt = 1) -> None:
        super().__init__(refresh_rate=refresh_rate)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """The bar's figures, without the number of the version, which says nothing here."""
        figures: dict[str, Any] = super().get_metrics(trainer, pl_module)
        figures.pop("v_num", None)
        return figures

    def _get_train_description(self, current_epoch: int) -> str:
        """Count epochs from 1, as the lines in between do; padded against flickering."""
        last = self.trainer.max_epochs
        text = f"epoch {current_epoch + 1}" + (f"/{last}" if last and last > 0 else "")
        return f"{text:{len(self.validation_description)}}"
