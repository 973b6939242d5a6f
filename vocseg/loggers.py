"""TensorBoard and CSV loggers that append on resume."""

import csv
import functools
import io
import logging
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from torch.utils.tensorboard.summary import hparams

from vocseg.errors import raise_worker_failure
from vocseg.utils.atomic_write import atomic_write

_default_format = warnings.formatwarning
_IGNORED = (  # Lightning's warnings, as regular expressions
    "Checkpoint directory .* exists and is not empty",  # created just before
    "Experiment logs directory .* exists and is not empty",
    "It is recommended to use .self.log.* sync_dist=True",  # our metrics are sums over all processes already
    "You're resuming from a checkpoint that ended before",  # the data module restores its position
    "The number of training batches .* is smaller than the logging interval",  # every epoch is logged
    "LightningCLI's args parameter is intended",  # for calls like `resume`'s
)


class VocTensorBoardLogger(TensorBoardLogger):
    """TensorBoard logger without the epoch's number, and with learning rates in a group `optimizer`.

    Loss and mIoU are then the first groups, which TensorBoard unfolds.
    """

    def log_settings(self, settings: Mapping[str, bool | int | float | str]) -> None:
        """Add the run to HPARAMS, and charts with training and validation together to CUSTOM SCALARS.

        Lightning's `log_hyperparams` would add a value to the curve of each metric at step 0.
        """
        measures = {"loss": "loss", "mean IoU": "miou", "pixel accuracy": "pixel_accuracy"}
        tags = {f"{name}/{stage}": 0 for name in measures.values() for stage in ("val", "train")}
        for summary in hparams(dict(settings), tags):  # type: ignore[no-untyped-call]
            self.experiment._get_file_writer().add_summary(summary)
        # The tags are regular expressions: `loss/train` would add `loss/train_step`.
        charts = {title: ["Multiline", [f"^{name}/(train|val)$"]] for title, name in measures.items()}
        self.experiment.add_custom_scalars({"training and validation": charts})

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log the metrics."""
        renamed = {
            f"optimizer/{name}" if name.startswith("lr-") else name: each for name, each in metrics.items()
        }
        renamed.pop("epoch", None)
        super().log_metrics(renamed, step)


def run_loggers(folder: Path, extra: Any, tensorboard: bool) -> dict[str, Any]:
    """Create the trainer's loggers, with those of `--trainer.logger`; `tensorboard`: the verb has curves.

    Returns:
        Arguments of the trainer. Our loggers are first, as Lightning takes the run directory from the first.
    """
    if extra is False:
        return {"logger": False, "default_root_dir": folder}
    root, verb, version = folder.parent.parent, folder.parent.name, folder.name
    loggers: list[Any] = [AppendCSVLogger(root, verb, version)]
    if tensorboard:
        loggers.insert(0, VocTensorBoardLogger(root, verb, version, default_hp_metric=False))
    loggers += [] if extra in (None, True) else extra if isinstance(extra, list) else [extra]
    return {"logger": [tolerate_errors(logger) for logger in loggers]}


def tolerate_errors(logger: Any) -> Any:
    """Make the errors of a logger (full disk, lost server) warnings, so that the run continues.

    Every later call is tried again. Only the first error is reported.
    """
    warned = False

    def guarded(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal warned
            try:
                return method(*args, **kwargs)
            except Exception as error:  # TensorBoard's writer raises an empty ValueError for a full disk
                raise_worker_failure(error)
                if not warned:
                    warned = True
                    why = " ".join(str(error).split()) or type(error).__name__
                    warnings.warn(
                        f"vocseg: {type(logger).__name__} cannot write to {logger.save_dir} ({why}). "
                        "Training and checkpoints continue. Its curves may be incomplete.",
                        stacklevel=2,
                    )
                return None

        return call

    for name in (
        "log_metrics",
        "log_hyperparams",
        "log_settings",
        "log_graph",
        "save",
        "finalize",
        "after_save_checkpoint",
    ):
        if hasattr(logger, name):
            setattr(logger, name, guarded(getattr(logger, name)))
    return logger


def filter_warnings() -> None:
    """Suppress Lightning's notices and warnings that do not apply to runs of this package."""
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch.callbacks").setLevel(logging.INFO)  # for callbacks with `verbose`
    for message in _IGNORED:
        warnings.filterwarnings("ignore", message=message)
    warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated", category=FutureWarning)
    warnings.formatwarning = _format_warning


def _format_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Print our own warnings without file and line."""
    text = str(message)
    own = text.startswith("vocseg: ")
    return f"{text}\n" if own else _default_format(message, category, filename, lineno, line)


class AppendWriter(ExperimentWriter):
    """Lightning's CSV writer, which appends to an existing file."""

    def _check_log_dir_exists(self) -> None:
        path = Path(self.metrics_file_path)
        if path.is_file():
            with path.open(newline="") as file:
                self.metrics_keys = next(csv.reader(file), [])


class AppendCSVLogger(CSVLogger):
    """Lightning's CSV logger with `AppendWriter`."""

    @property
    def experiment(self) -> AppendWriter:
        """The writer."""
        if self._experiment is None:
            self._experiment = AppendWriter(log_dir=self.log_dir)
        return self._experiment  # type: ignore[return-value]


def count_rows(path: Path) -> int:
    """Return the number of rows of a CSV file without its header; 0 if there is no file."""
    if not path.is_file():
        return 0
    with path.open(newline="") as file:
        return max(0, sum(1 for _ in csv.reader(file)) - 1)


def keep_rows(path: Path, rows: int) -> None:
    """Truncate a CSV file atomically to its header and its first rows. A missing file is ignored."""
    if count_rows(path) <= rows:
        return
    with path.open(newline="") as file:
        first = list(csv.reader(file))[: rows + 1]
    text = io.StringIO(newline="")
    csv.writer(text).writerows(first)
    atomic_write(path, text.getvalue())
