"""Callbacks of every run."""

from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch import Callback
from lightning.pytorch.cli import LightningArgumentParser, SaveConfigCallback

from vocseg.callbacks.best_weights import BestWeights
from vocseg.callbacks.collapse_warning import CollapseWarning
from vocseg.callbacks.confusion_image import ConfusionMatrixImage
from vocseg.callbacks.image_panels import ImagePanels
from vocseg.callbacks.last_checkpoint import LastCheckpoint
from vocseg.callbacks.nan_guard import NanGuard
from vocseg.callbacks.original_resolution import OriginalResolutionEval
from vocseg.callbacks.per_image_metrics import PerImageMetrics
from vocseg.callbacks.prediction_writer import PredictionWriter
from vocseg.callbacks.process_watchdog import ProcessWatchdog
from vocseg.callbacks.progress_bar import ProgressBar
from vocseg.callbacks.run_summary import RunSummary
from vocseg.callbacks.skipped_samples import SkippedSamplesReport
from vocseg.callbacks.test_time_augmentation import TestTimeAugmentation
from vocseg.callbacks.throughput import Throughput
from vocseg.callbacks.weight_averaging import WeightAverager
from vocseg.utils.atomic_write import atomic_write

_WITH_FLAGS: dict[str, type[Callback]] = {  # by their group on the command line
    "best_weights": BestWeights,
    "last_checkpoint": LastCheckpoint,
    "weight_averaging": WeightAverager,
    "image_panels": ImagePanels,
    "original_resolution": OriginalResolutionEval,
    "tta": TestTimeAugmentation,
    "prediction_writer": PredictionWriter,
    "progress_bar": ProgressBar,
}


def add_standing(parser: LightningArgumentParser) -> None:
    """Give a parser the flags of those that have some."""
    for group, kind in _WITH_FLAGS.items():
        parser.add_lightning_class_args(kind, group)


def without_flags() -> list[Callback]:
    """Those that have none, in the order in which they are called."""
    own = [ProcessWatchdog(), RunSummary(), NanGuard(), CollapseWarning(), Throughput(), PerImageMetrics()]
    return [*own, SkippedSamplesReport(), ConfusionMatrixImage()]


def drop_unused(parsers: list[LightningArgumentParser], config: Namespace, verb: str) -> None:
    """Leave out those that flags switch off: Lightning refuses some of them then.

    Args:
        parsers: Of all verbs.
        config: The flags of the verb.
        verb: Its name.
    """
    kept = config["trainer"]["enable_checkpointing"] is not False and verb != "tune"
    off = set() if kept else {"best_weights", "last_checkpoint"}
    off |= {"progress_bar"} if config["trainer"]["enable_progress_bar"] is False else set()
    if "weight_averaging" in config and config["weight_averaging"].kind == "none":
        off.add("weight_averaging")
    for parser in parsers:
        parser.callback_keys = [key for key in parser.callback_keys if key not in off]


class SaveTrainingConfig(SaveConfigCallback):
    """`config.yaml` for runs that train, and the lists of images where they were drawn by chance.

    A run that scores has nothing to repeat.
    """

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Write it when training starts."""
        if stage == "fit" and not self.already_saved:
            folder = trainer.log_dir  # on every process: it is broadcast
            path = None if folder is None else Path(folder) / self.config_filename
            if trainer.is_global_zero and path is not None and not path.exists():  # a run that goes on has it
                atomic_write(path, self.parser.dump(self.config, skip_none=False))
                self._save_split(trainer.datamodule, path.parent)
            self.already_saved = True

    def _save_split(self, data: Any, folder: Path) -> None:
        if data.selection.val_fraction is None:
            return
        (folder / "split").mkdir(exist_ok=True)
        for name in ("train", "val"):
            atomic_write(folder / "split" / f"{name}.txt", "\n".join(data.ids(name)) + "\n")
