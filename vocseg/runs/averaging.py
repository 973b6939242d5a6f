"""Averaged weights, which score better than those of any one step."""

from typing import Any, Literal

import torch
from jsonargparse.typing import ClosedUnitInterval
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from vocseg.errors import UserError

AverageKind = Literal["none", "ema", "swa"]


class Averaging(WeightAveraging):
    """Averages the weights; validation, `best.ckpt` and `unet_voc.pth` use the average.

    Lightning's callback does the work. What it lacks: an average that begins late is no average before, and
    is neither scored nor saved; the first steps weigh little; what counts of an epoch is its last step, which
    the validation judges, and not what comes after.

    Args:
        kind: `none`; `ema`: an exponential moving average over the steps; `swa`: the plain average of the
            weights at the ends of the last epochs.
        decay: Of `ema`: what the average keeps at each step; less in the first steps.
        start: Of `swa`: share of all epochs before the first that counts.
    """

    def __init__(
        self,
        kind: AverageKind = "none",
        decay: ClosedUnitInterval = 0.999,
        start: ClosedUnitInterval = 0.75,
    ) -> None:
        self.kind, self.decay, self.start = kind, float(decay), float(start)
        super().__init__(multi_avg_fn=self._move)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Make room for the average.

        Raises:
            UserError: If there is no telling which epochs are the last.
        """
        if stage == "fit" and self.kind == "swa" and (trainer.max_epochs or 0) < 1:
            raise UserError("--average.kind swa counts from the end: set --trainer.max_epochs")
        super().setup(trainer, pl_module, stage)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take this step's weights in, if they count."""
        late = trainer.current_epoch >= int(self.start * (trainer.max_epochs or 0))
        if self.kind == "ema" or (late and batch_idx + 1 == trainer.num_training_batches):
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the average in the model."""
        if self._begun:
            super().on_train_end(trainer, pl_module)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score the average."""
        if self._begun:
            super().on_validation_epoch_start(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Train what was trained."""
        if self._begun:
            super().on_validation_epoch_end(trainer, pl_module)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Save the average as the weights, and what is trained beside it."""
        if self._begun:
            super().on_save_checkpoint(trainer, pl_module, checkpoint)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Go on with the average, if it had begun."""
        if self._average_model is not None and "averaging_state" in checkpoint:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)

    def described(self) -> str:
        """How weights are averaged, in words."""
        return f"ema {self.decay:g}" if self.kind == "ema" else f"swa from {self.start:g}"

    @property
    def _begun(self) -> bool:
        return self._average_model is not None and self._latest_update_step > 0

    def _rate(self, number: float) -> float:
        """How far an average of so many moves towards the next; an EMA's first are forgotten quickly."""
        mean = 1 / (number + 1)
        return mean if self.kind == "swa" else 1 - min(self.decay, (1 + number) / (10 + number))

    @torch.no_grad()
    def _move(self, averages: Any, weights: Any, number: Tensor | int) -> None:
        """Take weights of one type in; counters, which torch's own functions stumble over, are copied."""
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, weights, self._rate(float(number)))
            return
        for average, value in zip(averages, weights, strict=True):
            average.copy_(value)
