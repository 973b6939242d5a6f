"""EMA and SWA weight averaging."""

from itertools import chain
from typing import Any, Literal

import torch
from jsonargparse.typing import ClosedUnitInterval
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn

from vocseg.errors import UserError

AverageKind = Literal["none", "ema", "swa"]


class WeightAverager(WeightAveraging):
    """Averages weights. Validation, `best.ckpt` and `unet_voc.pth` use the average.

    Args:
        kind: Kind of average: none, ema (exponential moving average over steps) or swa (mean of the weights
            at the ends of the last epochs).
        decay: Decay of `ema` per step. The first steps use a smaller one.
        swa_start: Fraction of all epochs after which `swa` starts.
    """

    # Unlike in Lightning's callback, an average that has not started is neither scored nor saved, an epoch
    # counts with its last step, and averaging runs on the device without making it wait.

    def __init__(
        self,
        kind: AverageKind = "none",
        decay: ClosedUnitInterval = 0.999,
        swa_start: ClosedUnitInterval = 0.75,
    ) -> None:
        self.kind, self.decay, self.start = kind, float(decay), float(swa_start)
        self._averaged = 0  # number of averaged models: torch counts them on the device
        self._pairs: list[tuple[list[Tensor], list[Tensor]]] = []  # averages and weights
        super().__init__()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Allocate the average, or raise a `UserError` if `swa` has no number of epochs."""
        if stage == "fit" and self.kind == "swa" and (trainer.max_epochs or 0) < 1:
            raise UserError(
                "--weight_averaging.kind swa needs the number of epochs. Set --trainer.max_epochs."
            )
        self._device, self._averaged, self._pairs = trainer.strategy.root_device, 0, []
        if self.kind != "none":
            super().setup(trainer, pl_module, stage)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add this step's weights."""
        if self.kind == "none":
            return
        late = trainer.current_epoch >= int(self.start * (trainer.max_epochs or 0))
        counts = self.kind == "ema" or (late and batch_idx + 1 == trainer.num_training_batches)
        if counts and trainer.global_step > self._latest_update_step:  # else gradients are being accumulated
            self._update(pl_module)
            self._latest_update_step = trainer.global_step

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Copy the average into the model."""
        if self._begun:
            super().on_train_end(trainer, pl_module)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Swap the average in."""
        if self._begun:
            super().on_validation_epoch_start(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Swap the trained weights in."""
        if self._begun:
            super().on_validation_epoch_end(trainer, pl_module)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Save the average as the weights, and the trained weights besides."""
        if self._begun:
            super().on_save_checkpoint(trainer, pl_module, checkpoint)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Restore the average, if there is one."""
        if self._average_model is not None and "averaging_state" in checkpoint:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)
            self._averaged = int(checkpoint["averaging_state"]["n_averaged"])

    def described(self) -> str | None:
        """Return a description of the average, or None."""
        if self.kind == "none":
            return None
        return f"ema {self.decay:g}" if self.kind == "ema" else f"swa from {self.start:g}"

    @property
    def _begun(self) -> bool:
        return self._average_model is not None and self._latest_update_step > 0

    def _rate(self) -> float:
        """Weight of the next model in the average. It is larger in the first steps of an EMA."""
        mean = 1 / (self._averaged + 1)
        if self.kind == "swa" or not self._averaged:
            return mean
        return 1 - min(self.decay, (1 + self._averaged) / (10 + self._averaged))

    @torch.no_grad()
    def _update(self, model: nn.Module) -> None:
        """Move the average towards the weights of a model. Integer buffers are copied."""
        assert self._average_model is not None
        self._pairs = self._pairs or _paired(self._average_model.module, model)
        for averages, weights in self._pairs:
            if averages[0].is_floating_point():
                torch._foreach_lerp_(averages, weights, self._rate())
            else:
                torch._foreach_copy_(averages, weights)
        self._averaged += 1
        self._average_model.n_averaged.fill_(self._averaged)


def _paired(average: nn.Module, model: nn.Module) -> list[tuple[list[Tensor], list[Tensor]]]:
    """Parameters and buffers of two models, grouped by type."""
    kinds: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}
    pairs = zip(*(chain(each.parameters(), each.buffers()) for each in (average, model)), strict=True)
    for old, new in pairs:
        olds, news = kinds.setdefault(old.dtype, ([], []))
        olds.append(old)
        news.append(new)
    return list(kinds.values())
