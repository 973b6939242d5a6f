"""Callbacks of every run."""

from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch import Callback
from lightning.pytorch.cli import LightningArgumentParser, SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger

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
from vocseg.callbacks.test_time_augmentation import TestTimeAugmentation
from vocseg.callbacks.throughput import Throughput
from vocseg.callbacks.weight_averaging import WeightAverager
from vocseg.loggers import VocTensorBoardLogger
from vocseg.utils.atomic_write import atomic_write

_WITH_FLAGS: dict[str, type[Callback]] = {  # by group of flags
    "best_weights": BestWeights,
    "last_checkpoint": LastCheckpoint,
    "weight_averaging": WeightAverager,
    "image_panels": ImagePanels,
    "original_resolution": OriginalResolutionEval,
    "tta": TestTimeAugmentation,
    "prediction_writer": PredictionWriter,
    "progress_bar": ProgressBar,
}


_SETTINGS = (  # prefixes of the flags that are logged
    *("seed_everything", "ckpt_path", "model.", "data.", "weight_averaging.", "tta.", "original_resolution."),
    *("trainer.max_epochs", "trainer.max_steps"),
    *("trainer.precision", "trainer.accumulate_grad_batches", "trainer.gradient_clip_val", "trainer.devices"),
)
_FILES = (  # of them, those that find and read files: tables of settings show few columns
    *("data.cache", "data.download", "data.image_folder", "data.image_suffix", "data.mask_"),
    *("data.num_workers", "data.predict_dir", "data.timeout", "data.verify_files"),
)


def add_standing(parser: LightningArgumentParser) -> None:
    """Add the flags of callbacks to a parser."""
    for group, kind in _WITH_FLAGS.items():
        parser.add_lightning_class_args(kind, group)


def without_flags() -> list[Callback]:
    """Create the callbacks without flags, in the order in which they are called."""
    own = [ProcessWatchdog(), RunSummary(), NanGuard(), CollapseWarning(), Throughput(), PerImageMetrics()]
    return [*own, ConfusionMatrixImage()]


def drop_unused(parsers: list[LightningArgumentParser], config: Namespace) -> None:
    """Remove callbacks that flags disable from the parsers. Lightning would reject some of them."""
    off = set()
    if config["trainer"]["enable_checkpointing"] is False:
        off |= {"best_weights", "last_checkpoint"}
    if config["trainer"]["enable_progress_bar"] is False:
        off.add("progress_bar")
    if "weight_averaging" in config and config["weight_averaging"].kind == "none":
        off.add("weight_averaging")
    for parser in parsers:
        parser.callback_keys = [key for key in parser.callback_keys if key not in off]


class SaveTrainingConfig(SaveConfigCallback):
    """Writes `config.yaml`, and `split/` if the split is random, when training starts.

    The settings of training and scoring go to TensorBoard and other loggers.
    """

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        if stage == trainer.state.fn in ("validate", "test") and trainer.is_global_zero:
            self._log_settings(trainer)
        if stage == "fit" and not self.already_saved:
            folder = trainer.log_dir  # on every process: it is broadcast
            path = None if folder is None else Path(folder) / self.config_filename
            if trainer.is_global_zero and path is not None and not path.exists():  # a resumed run has it
                self._log_settings(trainer)
                atomic_write(path, self.parser.dump(self.config, skip_none=False))
                data = trainer.datamodule
                for name in () if data.selection.val_fraction is None else ("train", "val"):
                    atomic_write(path.parent / "split" / f"{name}.txt", "\n".join(data.ids(name)) + "\n")
            self.already_saved = True

    def _log_settings(self, trainer: Any) -> None:
        """Log what differs between runs to TensorBoard and to loggers of the user's, such as W&B."""
        flat = {key: value for key, value in vars(self.config.as_flat()).items() if key.startswith(_SETTINGS)}
        plain = {
            key: each if isinstance(each, bool | int | float | str) else str(each)
            for key, each in flat.items()
            if each is not None and not key.startswith(_FILES)
        }
        for logger in trainer.loggers:
            if isinstance(logger, VocTensorBoardLogger):
                logger.log_settings(plain)
            elif not isinstance(logger, CSVLogger):  # which has `config.yaml` beside it
                logger.log_hyperparams(plain)
