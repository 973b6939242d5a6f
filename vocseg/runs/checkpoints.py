"""What a run leaves: `unet_voc.pth` and `best.ckpt` from its best epoch, `last.ckpt` from its newest."""

from pathlib import Path
from typing import Any

from jsonargparse.typing import PositiveInt
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from vocseg.model import SegmentationModule
from vocseg.runs.scoring import newest_score
from vocseg.runs.weights import DESCRIPTION_KEY, WEIGHTS_NAME, describe, save_weights
from vocseg.scores import Score

_LONG_WAIT = 0.05  # share of the time from which the user should know


class RunCheckpoint(ModelCheckpoint):
    """A checkpoint in the run's folder itself, always under the same name."""

    def __init__(self, name: str, every_n_epochs: int = 1, monitor: str | None = None) -> None:
        """Set Lightning's callback up.

        Args:
            name: The file's name without `.ckpt`.
            every_n_epochs: Epochs between two checkpoints.
            monitor: Keep the best by this logged figure; None: the newest.
        """
        super().__init__(
            filename=name,
            monitor=monitor,
            mode="min" if monitor and monitor.startswith("loss") else "max",
            every_n_epochs=every_n_epochs,
            save_on_train_epoch_end=True,  # the epoch's validation is over by then
            enable_version_counter=False,
        )

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Write into the run's folder itself."""
        self.dirpath = trainer.log_dir
        super().setup(trainer, pl_module, stage)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Let the checkpoint say what it is."""
        if isinstance(pl_module, SegmentationModule):
            checkpoint[DESCRIPTION_KEY] = _description(trainer, pl_module)


class LastCheckpoint(RunCheckpoint):
    """Keeps the newest state as `last.ckpt`, to go on from.

    Args:
        every_n_epochs: Epochs between two checkpoints.
    """

    def __init__(self, every_n_epochs: PositiveInt = 1) -> None:
        super().__init__("last", int(every_n_epochs))


class BestWeights(RunCheckpoint):
    """Keeps the weights with the best validation figure, as `best.ckpt` and as `unet_voc.pth`.

    Args:
        monitor: The logged figure to judge by; a loss is best when small, all else when large.
    """

    def __init__(self, monitor: str = "miou/val") -> None:
        super().__init__("best", monitor=monitor)
        self.score: Score | None = None
        self.weights: Path | None = None
        self._validated = False

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget the last epoch's validation: this one may have none."""
        self._validated = False

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that there was one; what it gave is judged at the epoch's end."""
        self._validated = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save if this epoch is the best so far, and say in a line how the epoch went."""
        before = self.best_model_score
        if self._validated:
            super().on_train_epoch_end(trainer, pl_module)
        better = self.best_model_score is not None and (
            before is None or bool(self.best_model_score != before)
        )
        assert isinstance(pl_module, SegmentationModule)
        if better:
            self._keep(trainer, pl_module)
        pl_module.print(_epoch_line(trainer, self._validated, better))

    def _keep(self, trainer: Trainer, module: SegmentationModule) -> None:
        assert self.dirpath is not None
        self.score, self.weights = newest_score(trainer, module), Path(self.dirpath) / WEIGHTS_NAME
        if trainer.is_global_zero:
            save_weights(self.weights, module, _description(trainer, module))


def _description(trainer: Trainer, module: SegmentationModule) -> dict[str, Any]:
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
