"""Warning about a collapsed or shifted prediction."""

from typing import Any

import numpy as np
import numpy.typing as npt
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from vocseg.errors import UserError
from vocseg.metrics.aggregate import compute_metrics, tp_gt_pred
from vocseg.models.module import SegmentationModule

Counts = npt.NDArray[np.int64]

ONE_CLASS = 0.995  # least fraction of pixels predicted as one class in a collapse
_LESS = 0.1  # least excess over the true fraction of that class
_GAIN = 0.2  # least gain in mean IoU by shifting the predicted classes


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


def shifted_labels(matrix: Counts) -> str | None:
    """Sentence on class indices that seem shifted between masks and training, or None."""
    plain = _mean_iou(matrix)
    for shift in (1, -1):
        moved = _mean_iou(np.roll(matrix, shift, axis=1))
        if moved > plain + _GAIN:
            return (
                f"mean IoU is {plain:.2f}, but {moved:.2f} if every predicted class is replaced by the one "
                f"{'after' if shift == 1 else 'before'} it: the masks seem to count classes from another "
                "number than those of training. Check the class list and the values of the masks."
            )
    return None


def _mean_iou(matrix: Counts) -> float:
    return float(compute_metrics(tp_gt_pred(matrix))[0])


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
