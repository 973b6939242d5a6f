"""Best weights by a monitored metric."""

import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from vocseg.callbacks.per_image_metrics import newest_image_scores
from vocseg.checkpoints.weights import WEIGHTS_NAME, save_weights
from vocseg.metrics.per_image import PerImageConfusion
from vocseg.metrics.score import Score, images_of, plain_images, plain_score, score_of
from vocseg.models.metadata import description_of, newest_score
from vocseg.models.module import SegmentationModule

_HEADER = (
    "            loss           mIoU %        accuracy %\n"
    "  epoch    train    val   train    val   train    val  images/s      left"
)  # 79 columns with the mark of the best epoch


def best_mode(metric: str) -> str:
    """Return whether a metric is best when small (`min`) or large (`max`)."""
    return "min" if metric.startswith("loss") else "max"


class BestWeights(Checkpoint):
    """Saves the best epoch's weights as `best.ckpt` and `unet_voc.pth`.

    Args:
        monitor: Logged metric that selects the best epoch, such as miou/val. A loss is minimised, any other
            metric is maximised.
    """

    def __init__(self, monitor: str = "miou/val") -> None:
        self.monitor, self.value = monitor, float("nan")  # of the best epoch so far
        self.score: Score | None = None
        self.images: PerImageConfusion | None = None
        self.weights: Path | None = None
        self.new = False  # the newest epoch is the best, and not saved yet
        self._validated = False
        self._started, self._epochs = 0.0, 0  # of this process: seconds of `time.monotonic`, epochs
        # Of the epoch's last validation.
        self._newest: tuple[Score | None, PerImageConfusion | None] = (None, None)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        folder = trainer.log_dir  # on every process: it is broadcast
        self.weights = None
        if folder is not None and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            self.weights = Path(folder) / WEIGHTS_NAME

    @property
    def best_model_path(self) -> str:
        """Path of the best epoch's checkpoint, for Lightning's `ckpt_path="best"`. Empty: there is none."""
        path = None if self.weights is None else self.weights.with_name("best.ckpt")
        return str(path) if path is not None and path.is_file() else ""

    def state_dict(self) -> dict[str, Any]:
        return {
            "monitor": self.monitor,
            "value": self.value,
            "score": plain_score(self.score),
            "images": plain_images(self.images),
            "validated": self._validated,
            "newest": [plain_score(self._newest[0]), plain_images(self._newest[1])],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best epoch if it was selected by the same metric."""
        self._validated = state_dict.get("validated", False)
        score, images = state_dict.get("newest", (None, None))
        self._newest = score_of(score), images_of(images)
        if state_dict.get("monitor") == self.monitor:
            self.value, self.score = state_dict["value"], score_of(state_dict["score"])
            self.images = images_of(state_dict.get("images"))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._started, self._epochs = time.monotonic(), 0

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if (
            trainer.state.fn == "fit"
            and not trainer.sanity_checking
            and isinstance(pl_module, SegmentationModule)
        ):
            self._validated = True
            self._newest = newest_score(trainer, pl_module), newest_image_scores(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, SegmentationModule)
        # The IoU of a class that is neither present nor predicted is not logged.
        value = float(trainer.callback_metrics.get(self.monitor, float("nan")))
        better = self._validated and self._is_better(value)
        if better:
            self.value = value
            (self.score, self.images), self.new = self._newest, True
        if self._epochs == 0:
            pl_module.print(_HEADER)
        self._epochs += 1
        seconds = (time.monotonic() - self._started) / self._epochs
        pl_module.print(_epoch_row(trainer, self._validated, better, seconds))
        self._validated, self._newest = False, (None, None)  # an epoch may have no validation
        # `LastCheckpoint` saves both files with its next checkpoint.
        deferred = any(getattr(each, "saves_best", False) for each in trainer.callbacks)  # type: ignore[attr-defined]
        if self.new and self.weights is not None and not deferred:
            trainer.save_checkpoint(self.weights.with_name("best.ckpt"))
            self.new = False

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Write the best epoch's weights from a checkpoint, which has averaged weights already."""
        if self.new and self.weights is not None and trainer.is_global_zero and not trainer.validating:
            assert isinstance(pl_module, SegmentationModule)
            description = description_of(trainer, pl_module)
            save_weights(self.weights, pl_module, description, checkpoint["state_dict"])

    def _is_better(self, value: float) -> bool:
        if value != value or self.value != self.value:  # NaN
            return value == value
        return value < self.value if best_mode(self.monitor) == "min" else value > self.value


def _epoch_row(trainer: Trainer, validated: bool, better: bool, seconds: float | None) -> str:
    """Format the metrics of an epoch under `_HEADER`, and the time that the other epochs need."""
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    last = trainer.max_epochs if (trainer.max_epochs or 0) > 0 else None
    row = f"{trainer.current_epoch + 1}/{last}" if last else f"{trainer.current_epoch + 1}"
    row = f"{row:>7}"
    for name, width in (("loss", 9), ("miou", 8), ("pixel_accuracy", 8)):
        for stage in ("train", "val"):
            value = metrics.get(f"{name}/{stage}") if validated or stage == "train" else None
            text = "-" if value is None else f"{value:.3f}" if name == "loss" else f"{100 * value:.1f}"
            row += f"{text:>{width if stage == 'train' else 7}}"
    speed = metrics.get("speed/images_per_s")
    row += f"{'-' if speed is None else f'{speed:.1f}':>10}"
    left = None if seconds is None or not last else round(seconds * (last - trainer.current_epoch - 1))
    row += f"{'-' if left is None else str(timedelta(seconds=left)):>10}" + ("  best" if better else "")
    return row
