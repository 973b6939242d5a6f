"""Warning about collapsed predictions."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from vocseg.errors import UserError
from vocseg.metrics.sanity import collapse, shifted_labels
from vocseg.models.module import SegmentationModule

_PATIENCE = 3  # validations in a row: a network that has only begun may well say nothing but background


class CollapseWarning(Callback):
    """Warns, once each, of one class predicted everywhere and of shifted labels."""

    def __init__(self) -> None:
        self._said: set[str] = set()
        self._collapsed = 0
        self._trained = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note that there was a step."""
        self._trained = True

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A run that goes on may have nothing left but a validation."""
        self._trained = True

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let no training that did nothing pass for a success.

        Raises:
            UserError: If there was no step.
        """
        if not self._trained:
            raise UserError(
                f"there was no step to train (max_epochs {trainer.max_epochs}, max_steps "
                f"{trainer.max_steps}, begun at epoch {trainer.current_epoch}, step {trainer.global_step}): "
                "raise --trainer.max_epochs"
            )

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at what was predicted."""
        if trainer.sanity_checking:
            return
        self._judge(pl_module, patience=_PATIENCE if trainer.training or trainer.state.fn == "fit" else 1)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at what was predicted."""
        self._judge(pl_module, patience=1)

    def _judge(self, module: LightningModule, patience: int) -> None:
        if not isinstance(module, SegmentationModule) or "val" not in module.results:
            return
        matrix = module.results["val"]["matrix"].numpy()
        fault = collapse(matrix, module.class_list.names)
        self._collapsed = self._collapsed + 1 if fault else 0
        if fault and self._collapsed >= patience:
            self._say("collapse", fault)
        if fault := shifted_labels(matrix):
            self._say("shift", fault)

    def _say(self, what: str, sentence: str) -> None:
        if what not in self._said:
            self._said.add(what)
            rank_zero_warn(f"vocseg: {sentence}")
