"""How far a run's curves are, and how to take back what came after a checkpoint."""

import contextlib
import os
from pathlib import Path
from typing import Any

from vocseg.runs.table import count_rows, keep_rows

_TABLE = "metrics.csv"
_EVENTS = "events.out.tfevents.*"


def mark(loggers: list[Any], folder: Path) -> dict[str, int]:
    """Write the curves down, and say how far they are.

    Args:
        loggers: The trainer's.
        folder: The run's.

    Returns:
        Rows of the table and bytes of each file of events, by the files' names.
    """
    for logger in loggers:
        logger.save()
        flush = getattr(getattr(logger, "experiment", None), "flush", None)
        if callable(flush):
            with contextlib.suppress(OSError, ValueError):  # a full disk costs curves, but not the checkpoint
                flush()
    sizes = {path.name: path.stat().st_size for path in folder.glob(_EVENTS)}
    return {_TABLE: count_rows(folder / _TABLE), **sizes}


def rewind(folder: Path, marked: dict[str, int]) -> None:
    """Take back what came later than a mark: the run will write it once more.

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
