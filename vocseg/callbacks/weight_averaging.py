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
    """Averages the weights; validation, `best.ckpt` and `unet_voc.pth` use the average.

    Lightning's callback does the work. What it lacks: an average that begins late is no average before, and
    is neither scored nor saved; the first steps weigh little; what counts of an epoch is its last step, which
    the validation judges, and not what comes after. Theirs stays on the CPU, as the model is still there when
    they copy it, and asks at each step how many it has seen; ours makes no GPU wait.

    Args:
        kind: `none`; `ema`: an exponential moving average over the steps; `swa`: the plain average of the
            weights at the ends of the last epochs.
        decay: Of `ema`: what the average keeps at each step; less in the first steps.
        swa_start: Of `swa`: share of all epochs before the first that counts.
    """

    def __init__(
        self,
        kind: AverageKind = "none",
        decay: ClosedUnitInterval = 0.999,
        swa_start: ClosedUnitInterval = 0.75,
    ) -> None:
        self.kind, self.decay, self.start = kind, float(decay), float(swa_start)
        self._taken = 0  # weights that are in the average: torch counts them on the device
        self._pairs: list[tuple[list[Tensor], list[Tensor]]] = []  # averages and weights, found once
        super().__init__()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Make room for the average.

        Raises:
            UserError: If there is no telling which epochs are the last.
        """
        if stage == "fit" and self.kind == "swa" and (trainer.max_epochs or 0) < 1:
            raise UserError("--weight_averaging.kind swa counts from the end: set --trainer.max_epochs")
        self._device, self._taken, self._pairs = trainer.strategy.root_device, 0, []
        if self.kind != "none":
            super().setup(trainer, pl_module, stage)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take this step's weights in, if they count."""
        if self.kind == "none":
            return
        late = trainer.current_epoch >= int(self.start * (trainer.max_epochs or 0))
        counts = self.kind == "ema" or (late and batch_idx + 1 == trainer.num_training_batches)
        if counts and trainer.global_step > self._latest_update_step:  # else gradients are still added up
            self._take_in(pl_module)
            self._latest_update_step = trainer.global_step

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
            self._taken = int(checkpoint["averaging_state"]["n_averaged"])

    def described(self) -> str | None:
        """How weights are averaged, in words; None: they are not."""
        if self.kind == "none":
            return None
        return f"ema {self.decay:g}" if self.kind == "ema" else f"swa from {self.start:g}"

    @property
    def _begun(self) -> bool:
        return self._average_model is not None and self._latest_update_step > 0

    def _rate(self) -> float:
        """How far the average moves towards the next weights; an EMA's first are forgotten quickly."""
        mean = 1 / (self._taken + 1)
        if self.kind == "swa" or not self._taken:
            return mean
        return 1 - min(self.decay, (1 + self._taken) / (10 + self._taken))

    @torch.no_grad()
    def _take_in(self, model: nn.Module) -> None:
        """Move the average towards the weights of a model. Integer buffers are copied."""
        assert self._average_model is not None
        self._pairs = self._pairs or _paired(self._average_model.module, model)
        for averages, weights in self._pairs:
            if averages[0].is_floating_point():
                torch._foreach_lerp_(averages, weights, self._rate())
            else:
                torch._foreach_copy_(averages, weights)
        self._taken += 1
        self._average_model.n_averaged.fill_(self._taken)


def _paired(average: nn.Module, model: nn.Module) -> list[tuple[list[Tensor], list[Tensor]]]:
    """Parameters and buffers of two alike, by type."""
    kinds: dict[torch.dtype, tuple[list[Tensor], list[Tensor]]] = {}
    pairs = zip(*(chain(each.parameters(), each.buffers()) for each in (average, model)), strict=True)
    for old, new in pairs:
        olds, news = kinds.setdefault(old.dtype, ([], []))
        olds.append(old)
        news.append(new)
    return list(kinds.values())
