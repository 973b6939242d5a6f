"""Warning about collapsed predictions and shifted labels."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from vocseg.errors import UserError
from vocseg.metrics.sanity import collapse, shifted_labels
from vocseg.models.module import SegmentationModule

_PATIENCE = 3  # consecutive validations: early in training a network may predict only background


class CollapseWarning(Callback):
    """Warns once if one class is predicted everywhere, and once if labels seem shifted.

    It also raises if a training did no step.
    """

    def __init__(self) -> None:
        self._warned: set[str] = set()
        self._collapsed = 0
        self._trained = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._trained = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Record an epoch: a resumed run may have only a validation left."""
        self._trained = True

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check that there was a step.

        Raises:
            UserError: If there was none.
        """
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
        matrix = module.results["val"]["matrix"].numpy()
        collapsed = collapse(matrix, module.class_list.names)
        self._collapsed = self._collapsed + 1 if collapsed else 0
        warnings = {
            "collapse": collapsed if self._collapsed >= patience else None,
            "shift": shifted_labels(matrix),
        }
        for kind, sentence in warnings.items():
            if sentence and kind not in self._warned:
                self._warned.add(kind)
                rank_zero_warn(f"vocseg: {sentence}")
