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

from vocseg.utils.atomic_write import atomic_write

_with_place = warnings.formatwarning
_NOTICES = (  # of Lightning, as regular expressions
    "Checkpoint directory .* exists and is not empty",  # it is new by construction
    "Experiment logs directory .* exists and is not empty",
    "It is recommended to use .self.log.* sync_dist=True",  # our figures are sums over all processes already
    "You're resuming from a checkpoint that ended before",  # the data module knows its place
    "The number of training batches .* is smaller than the logging interval",  # curves have every epoch
    "LightningCLI's args parameter is intended",  # for calls as those of `resume`
)


class VocTensorBoardLogger(TensorBoardLogger):
    """TensorBoard's groups in the order a person looks for them: loss and mIoU are first, and so unfolded."""

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Leave out the number of the epoch, and put the learning rates into a group."""
        shown = {name: value for name, value in metrics.items() if name != "epoch"}
        super().log_metrics(
            {f"optimizer/{name}" if name.startswith("lr-") else name: value for name, value in shown.items()},
            step,
        )


def run_loggers(folder: Path, extra: Any, training: bool) -> dict[str, Any]:
    """The trainer's loggers: ours first, since Lightning takes the run's folder from the first.

    Args:
        folder: The run's folder, or any on a process that writes nothing.
        extra: What the user gave as --trainer.logger.
        training: Whether there are curves to draw.
    """
    if extra is False:
        return {"logger": False, "default_root_dir": folder}
    root, verb, version = folder.parent.parent, folder.parent.name, folder.name
    ours: list[Any] = [VocTensorBoardLogger(root, verb, version, default_hp_metric=False)] if training else []
    theirs = [] if extra in (None, True) else extra if isinstance(extra, list) else [extra]
    loggers = [*ours, AppendCSVLogger(root, verb, version), *theirs]
    return {"logger": [tolerate_errors(logger) for logger in loggers]}


def tolerate_errors(logger: Any) -> Any:
    """The same logger, whose faults (a full disk, a server that is gone) cost curves, but not the run.

    Every call is tried again; the first that fails is said.
    """
    said: list[str] = []

    def guarded(method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return method(*args, **kwargs)
            except Exception as fault:  # TensorBoard's writer hands on an empty ValueError for a full disk
                if not said:
                    said.append(type(logger).__name__)
                    why = " ".join(str(fault).split()) or type(fault).__name__
                    warnings.warn(
                        f"vocseg: {said[0]} cannot write to {logger.save_dir} ({why}): training and "
                        "checkpoints go on, its curves may have holes",
                        stacklevel=2,
                    )
                return None

        return call

    for name in ("log_metrics", "log_hyperparams", "log_graph", "save", "finalize", "after_save_checkpoint"):
        if hasattr(logger, name):
            setattr(logger, name, guarded(getattr(logger, name)))
    return logger


def filter_warnings() -> None:
    """Print only what a user can act on: Lightning's notices of what is as it should be are kept back."""
    for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch.callbacks").setLevel(logging.INFO)  # verbose ones were asked for
    for message in _NOTICES:
        warnings.filterwarnings("ignore", message=message)
    warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated", category=FutureWarning)
    warnings.formatwarning = _format_warning


def _format_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Our own warnings as sentences, without the line of code that issued them."""
    text = str(message)
    return (
        f"{text}\n" if text.startswith("vocseg: ") else _with_place(message, category, filename, lineno, line)
    )


class AppendWriter(ExperimentWriter):
    """Lightning's writer, but one that adds to a file that is there."""

    def _check_log_dir_exists(self) -> None:
        path = Path(self.metrics_file_path)
        if path.is_file():
            with path.open(newline="") as file:
                self.metrics_keys = next(csv.reader(file), [])


class AppendCSVLogger(CSVLogger):
    """Lightning's logger with that writer."""

    @property
    def experiment(self) -> AppendWriter:
        """What writes."""
        if self._experiment is None:
            self._experiment = AppendWriter(log_dir=self.log_dir)
        return self._experiment  # type: ignore[return-value]


def count_rows(path: Path) -> int:
    """Rows of a table, its head left out; 0 if there is none."""
    if not path.is_file():
        return 0
    with path.open(newline="") as file:
        return max(0, sum(1 for _ in csv.reader(file)) - 1)


def keep_rows(path: Path, rows: int) -> None:
    """Leave the first rows of a table, written whole.

    Args:
        path: The table; nothing happens if there is none.
        rows: How many, its head left out.
    """
    if count_rows(path) <= rows:
        return
    with path.open(newline="") as file:
        kept = list(csv.reader(file))[: rows + 1]
    text = io.StringIO(newline="")
    csv.writer(text).writerows(kept)
    atomic_write(path, text.getvalue())
