"""Where a run's figures are written, and what is kept off the terminal."""

import functools
import logging
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger

from vocseg.runs.table import Table


class Curves(TensorBoardLogger):
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
    ours: list[Any] = [Curves(root, verb, version, default_hp_metric=False)] if training else []
    theirs = [] if extra in (None, True) else extra if isinstance(extra, list) else [extra]
    loggers = [*ours, Table(root, verb, version), *theirs]
    return {"logger": [bear_faults(logger) for logger in loggers]}


def bear_faults(logger: Any) -> Any:
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


def quieten() -> None:
    """Keep back what Lightning says of folders that are new by construction, and its advertisements."""
    for folder in ("Checkpoint", "Experiment logs"):
        warnings.filterwarnings("ignore", message=f"{folder} directory .* exists and is not empty")
    # Our figures are sums over all processes already, so that there is nothing to sync.
    warnings.filterwarnings("ignore", message="It is recommended to use .self.log.* sync_dist=True")
    # The data module knows its place, which Lightning does not see.
    warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that ended before")
    warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated", category=FutureWarning)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(
        _is_no_tip
    )  # the same one: added once


def _is_no_tip(record: logging.LogRecord) -> bool:
    return "Tip:" not in record.getMessage()
