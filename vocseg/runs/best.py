"""`unet_voc.pth`, the weights of a run's best epoch."""

import math
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from vocseg.model import SegmentationModule
from vocseg.runs.agreement import Description
from vocseg.runs.network_scores import newest_image_scores
from vocseg.runs.refusals import best_mode
from vocseg.runs.score_state import images_of, plain_images, plain_score, score_of
from vocseg.runs.scoring import newest_score
from vocseg.runs.weights import WEIGHTS_NAME, describe, save_weights
from vocseg.scores import ImageScores, Score

_LONG_WAIT = 0.05  # share of the time from which the user should know


class BestWeights(Checkpoint):
    """Keeps the weights with the best validation figure, as `best.ckpt` and as `unet_voc.pth`.

    Args:
        monitor: The logged figure to judge by; a loss is best when small, all else when large.
    """

    def __init__(self, monitor: str = "miou/val") -> None:
        self.monitor, self.value = monitor, float("nan")  # of the best epoch so far
        self.score: Score | None = None
        self.images: ImageScores | None = None  # the same image by image
        self.weights: Path | None = None
        self.new = False  # the newest epoch was the best, and is not saved yet
        self._validated = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write into the run's folder itself."""
        folder = trainer.log_dir  # on every process: it is broadcast
        kept = folder is not None and stage == "fit" and not trainer.fast_dev_run  # type: ignore[attr-defined]
        self.weights = Path(folder) / WEIGHTS_NAME if kept and folder is not None else None

    def state_dict(self) -> dict[str, Any]:
        """The best epoch so far."""
        return {
            "monitor": self.monitor,
            "value": self.value,
            "score": plain_score(self.score),
            "images": plain_images(self.images),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there, if it was judged by the same figure."""
        if state_dict.get("monitor") == self.monitor:
            self.value, self.score = state_dict["value"], score_of(state_dict["score"])
            self.images = images_of(state_dict.get("images"))

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the last epoch's validation: this one may have none."""
        self._validated = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that there was one; what it gave is judged at the epoch's end."""
        self._validated = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Judge the epoch, and say in a line how it went; what is best is saved with the next checkpoint."""
        assert isinstance(pl_module, SegmentationModule)
        # A class without pixels in an epoch has no IoU there, which is not better than any.
        value = float(trainer.callback_metrics.get(self.monitor, math.nan))
        better = self._validated and self._is_better(value)
        if better:
            self.value = value
            self.score, self.new = newest_score(trainer, pl_module), True
            self.images = newest_image_scores(trainer, pl_module)
        pl_module.print(_epoch_line(trainer, self._validated, better))

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Write the best epoch's weights from a checkpoint, in which averaged weights are by now."""
        if self.new and self.weights is not None and trainer.is_global_zero and not trainer.validating:
            assert isinstance(pl_module, SegmentationModule)
            description = description_of(trainer, pl_module)
            save_weights(self.weights, pl_module, description, checkpoint["state_dict"])

    def _is_better(self, value: float) -> bool:
        if value != value:
            return False
        if self.value != self.value:
            return True
        return value < self.value if best_mode(self.monitor) == "min" else value > self.value


def description_of(trainer: Trainer, module: LightningModule) -> Description:
    """What a file of a run's weights says."""
    assert isinstance(module, SegmentationModule)
    data = getattr(trainer, "datamodule", None)
    parts = {stage: dict(data.facts(stage)) for stage in ("train", "val")} if data else {}
    return describe(module, data.size if data else None, newest_score(trainer, module), parts)


def _epoch_line(trainer: Trainer, validated: bool, better: bool) -> str:
    """The epoch's figures for people who read a log file."""
    figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
    parts = [
        f"epoch {trainer.current_epoch + 1}"
        + (f"/{trainer.max_epochs}" if (trainer.max_epochs or 0) > 0 else "")
    ]
    for name, label in (("loss", "loss"), ("miou", "mIoU"), ("pixel_accuracy", "accuracy")):
        stages = ("train", "val") if validated else ("train",)
        parts.append(f"{label} " + ", ".join(f"{figures[f'{name}/{stage}']:.3f} {stage}" for stage in stages))
    if "speed/images_per_s" in figures:
        parts.append(f"{figures['speed/images_per_s']:.1f} images/s")
    if figures.get("speed/data_wait", 0) > _LONG_WAIT:
        parts.append(f"{figures['speed/data_wait']:.0%} of the time waiting for data")
    return " | ".join(parts + (["best so far"] if better else []))
