"""Warning about a collapsed prediction."""

from typing import Any

import numpy as np
import numpy.typing as npt
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from vocseg.errors import UserError
from vocseg.models.module import SegmentationModule

Counts = npt.NDArray[np.int64]

ONE_CLASS = 0.995  # least fraction of pixels predicted as one class in a collapse
_LESS = 0.1  # least excess over the true fraction of that class


def collapse(matrix: Counts, classes: tuple[str, ...]) -> str | None:
    """Sentence on a matrix `[C,C]` (rows true) with one class predicted almost everywhere, or None."""
    total = max(int(matrix.sum()), 1)
    predicted, true = matrix.sum(0) / total, matrix.sum(1) / total
    k = int(predicted.argmax())
    if predicted[k] < ONE_CLASS or true[k] > predicted[k] - _LESS:
        return None
    return (
        f"{predicted[k]:.1%} of the pixels are predicted as '{classes[k]}', but only {true[k]:.1%} are: the "
        f"pixel accuracy of {matrix.trace() / total:.2f} comes from that alone. Compare the mean IoU."
    )


_PATIENCE = 3  # consecutive validations: early in training a network may predict only background


class CollapseWarning(Callback):
    """Warns once if one class is predicted everywhere. It also raises if a training did no step."""

    def __init__(self) -> None:
        self._warned = False
        self._collapsed = 0  # consecutive validations
        self._trained = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._trained = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record an epoch: a resumed run may have only a validation left."""
        self._trained = True

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raise a `UserError` if there was no step."""
        if not self._trained:
            raise UserError(
                f"there was no step to train (max_epochs {trainer.max_epochs}, max_steps "
                f"{trainer.max_steps}, from epoch {trainer.current_epoch}, step {trainer.global_step}). "
                "Raise --trainer.max_epochs."
            )

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self._check(pl_module, patience=_PATIENCE if trainer.state.fn == "fit" else 1)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._check(pl_module, patience=1)

    def _check(self, module: LightningModule, patience: int) -> None:
        if not isinstance(module, SegmentationModule) or "val" not in module.results:
            return
        sentence = collapse(module.results["val"]["matrix"].numpy(), module.class_list.names)
        self._collapsed = self._collapsed + 1 if sentence else 0
        if sentence and self._collapsed >= patience and not self._warned:
            self._warned = True
            rank_zero_warn(f"vocseg: {sentence}")
