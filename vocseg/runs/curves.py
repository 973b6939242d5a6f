"""How far a run's files are, and how to take back what came after a checkpoint."""

import contextlib
import os
from pathlib import Path
from typing import Any

from vocseg.runs.folder import clear_leftovers
from vocseg.runs.table import count_rows, keep_rows

_TABLE = "metrics.csv"
_EVENTS = "events.out.tfevents.*"
_OURS = {"last.ckpt", "best.ckpt"}  # which are replaced, never added


def mark(loggers: list[Any], folder: Path) -> dict[str, int]:
    """Write the curves to the disk, and measure the run's files.

    Args:
        loggers: The trainer's.
        folder: The run's.

    Returns:
        Rows of the table, and bytes of each file of events and of each checkpoint of other callbacks, by the
        files' names.
    """
    for logger in loggers:
        logger.save()
        flush = getattr(getattr(logger, "experiment", None), "flush", None)
        if callable(flush):
            with contextlib.suppress(OSError, ValueError):  # a full disk costs curves, but not the checkpoint
                flush()
    sizes = {path.name: path.stat().st_size for path in folder.glob(_EVENTS)}
    others = {_name(path, folder): path.stat().st_size for path in _checkpoints(folder)}
    return {_TABLE: count_rows(folder / _TABLE), **sizes, **others}


def rewind(folder: Path, marked: dict[str, int]) -> None:
    """Take back what came later than a mark, which the run writes once more, and what a kill left unfinished.

    Args:
        folder: The run's, in which nobody writes.
        marked: What `mark` gave.
    """
    keep_rows(folder / _TABLE, marked.get(_TABLE, 0))
    for path in folder.glob(_EVENTS):
        size = marked.get(path.name)
        if size is None:
            path.unlink()
        elif path.stat().st_size > size:
            os.truncate(path, size)
    for path in _checkpoints(folder):
        if _name(path, folder) not in marked:  # else its second writing would get another name
            path.unlink()
    clear_leftovers(folder)


def _checkpoints(folder: Path) -> list[Path]:
    """Those of a user's callbacks, such as ModelCheckpoint."""
    return [path for path in folder.rglob("*.ckpt") if path.name not in _OURS]


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()
