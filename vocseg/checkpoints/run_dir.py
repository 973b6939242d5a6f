"""Run directories: creation, lock, newest run."""

import contextlib
import os
import shutil
from itertools import count
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from vocseg.checkpoints.weights import WEIGHTS_NAME
from vocseg.errors import UserError
from vocseg.loggers import count_rows, keep_rows

LOGS = "lightning_logs"

_UNFINISHED = ".*.part"  # names of files and folders while they are written
_BEGUN = {".lock", "hparams.yaml", "metrics.csv"}  # what is there before anything is done


def create_run_dir(root: Path, verb: str) -> Path:
    """Make the next free folder of a verb; two runs that start together get two.

    Raises:
        UserError: If it cannot be made.
    """
    parent = root / LOGS / verb
    try:
        return _claim(parent)
    except OSError as fault:
        raise UserError(
            f"--trainer.default_root_dir {root}: no folder can be made in {parent} ({fault.strerror}): name "
            "another one"
        ) from fault


def _claim(parent: Path) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    taken = [int(path.name[8:]) for path in parent.glob("version_*") if path.name[8:].isdigit()]
    for number in count(max(taken, default=-1) + 1):
        try:
            (parent / f"version_{number}").mkdir()
        except FileExistsError:
            continue
        return parent / f"version_{number}"
    raise AssertionError("count() does not end")


def drop_unused_folder(folder: Path, besides: str = "") -> None:
    """Remove the folder of a run that never began, as nothing but logs are in it, and what is empty above.

    Args:
        folder: Of the run.
        besides: A file that may be there too.
    """
    if not folder.is_dir():  # somebody has renamed it
        return
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    if any(name not in {*_BEGUN, besides} and not name.startswith("events.out") for name in names):
        return
    shutil.rmtree(folder)
    for above in folder.parents[:2]:  # the verb's folder, then the logs'
        with contextlib.suppress(OSError):  # other runs are in it
            above.rmdir()


def lock_folder(folder: Path) -> FileLock:
    """Let nobody else write into a run's folder for as long as what is returned is kept.

    Raises:
        UserError: If another process does.
    """
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except NotImplementedError:  # a file system that knows no locks
        return lock
    except Timeout:
        raise UserError(f"{folder}: this run goes on in another process; wait for it, or stop it") from None
    return lock


def clear_leftovers(folder: Path) -> None:
    """Remove files and folders of a run that a kill left unfinished; nobody may write there now."""
    for path in folder.rglob(_UNFINISHED):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def clear_dead(folder: Path) -> None:
    """Remove what kills left unfinished in other runs beside this one; runs that are at work hold a lock.

    Args:
        folder: Of this run.
    """
    for other in {path.parent for path in folder.parent.glob(f"version_*/{_UNFINISHED}")} - {folder}:
        with contextlib.suppress(UserError, OSError):  # another process writes there, or its owner is another
            lock = lock_folder(other)
            if lock.is_locked:
                clear_leftovers(other)
            lock.release()


def newest_checkpoint(root: Path, word: str) -> Path:
    """The file that `--ckpt_path best` or `last` means: that of the run which saved a checkpoint last.

    Args:
        root: Where folders of runs are.
        word: `best` or `last`.

    Raises:
        UserError: If no run has one.
    """
    runs: dict[Path, float] = {}
    for path in (root / LOGS).glob("*/version_*/*.ckpt"):
        with contextlib.suppress(OSError):  # a run that goes on has replaced it
            runs[path.parent] = max(path.stat().st_mtime, runs.get(path.parent, 0))
    for folder in sorted(runs, key=lambda folder: runs[folder], reverse=True):
        if (folder / f"{word}.ckpt").is_file():
            return folder / f"{word}.ckpt"
    raise UserError(
        f"--ckpt_path {word}: no run in {root / LOGS} has a {word}.ckpt. Train one with fit, or name a file."
    )


def gone(folder: Path) -> UserError:
    """What ends a run whose folder was renamed or removed while it trained."""
    return UserError(
        f"{folder} is gone: it was renamed or removed while the run was writing into it. Its checkpoints are "
        "whole where it is now: go on with `python -m vocseg resume FOLDER`"
    )


def newest_weights(root: Path, verb: str = "*") -> Path | None:
    """The `unet_voc.pth` written last below a folder of runs, if there is one.

    Args:
        root: The folder.
        verb: Whose runs count.
    """
    found = (root / LOGS).glob(f"{verb}/version_*/{WEIGHTS_NAME}")
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


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
