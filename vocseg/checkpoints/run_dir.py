"""Run directories: creation, lock, newest run, rewinding."""

import contextlib
import os
import shutil
from itertools import count
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from vocseg.checkpoints.weights import WEIGHTS_NAME
from vocseg.errors import UserError, shown
from vocseg.loggers import count_rows, keep_rows

LOGS = "lightning_logs"

_TABLE = "metrics.csv"
_EVENTS = "events.out.tfevents.*"
_UNFINISHED = ".*.part"  # temporary names of files and folders
_INITIAL = {".lock", "hparams.yaml", _TABLE}  # files of a run without results


def create_run_dir(root: Path, verb: str) -> Path:
    """Create the next free directory of a verb. Runs that start together get separate ones."""
    parent = root / LOGS / verb
    try:
        parent.mkdir(parents=True, exist_ok=True)
        taken = [int(path.name[8:]) for path in parent.glob("version_*") if path.name[8:].isdigit()]
        for number in count(max(taken, default=-1) + 1):
            with contextlib.suppress(FileExistsError):
                (parent / f"version_{number}").mkdir()
                return parent / f"version_{number}"
    except OSError as error:
        raise UserError(
            f"--trainer.default_root_dir {shown(str(root))}: no folder can be created in it "
            f"({error.strerror}). Use another one."
        ) from error
    raise AssertionError("count() does not end")


def drop_unused_folder(folder: Path, besides: str = "") -> None:
    """Remove a run directory with only logs (and `besides`), and its parents if they are empty."""
    if not folder.is_dir():  # renamed
        return
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    if any(name not in {*_INITIAL, besides} and not name.startswith("events.out") for name in names):
        return
    shutil.rmtree(folder)
    for parent in folder.parents[:2]:  # the verb's folder, then `lightning_logs`
        with contextlib.suppress(OSError):  # not empty
            parent.rmdir()


def lock_folder(folder: Path) -> FileLock:
    """Lock a run directory, or raise a `UserError` if another process holds the lock."""
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0)
    except NotImplementedError:  # the file system does not support locks
        return lock
    except Timeout:
        raise UserError(f"{folder}: another process is running this run. Wait for it, or stop it.") from None
    return lock


def clear_leftovers(folder: Path) -> None:
    """Remove temporary files and folders of a killed process from a locked run directory."""
    for path in folder.rglob(_UNFINISHED):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def clear_dead(folder: Path) -> None:
    """Remove temporary files of killed processes from unlocked run directories beside this one."""
    for other in {path.parent for path in folder.parent.glob(f"version_*/{_UNFINISHED}")} - {folder}:
        with contextlib.suppress(UserError, OSError):  # locked, or of another user
            lock = lock_folder(other)
            if lock.is_locked:
                clear_leftovers(other)
            lock.release()


def newest_checkpoint(root: Path, word: str) -> Path:
    """Find the `best.ckpt` or `last.ckpt` of the run that saved last, or raise a `UserError`."""
    runs: dict[Path, float] = {}
    for path in (root / LOGS).glob("*/version_*/*.ckpt"):
        with contextlib.suppress(OSError):  # replaced by a run in progress
            runs[path.parent] = max(path.stat().st_mtime, runs.get(path.parent, 0))
    for folder in sorted(runs, key=lambda folder: runs[folder], reverse=True):
        if (folder / f"{word}.ckpt").is_file():
            return folder / f"{word}.ckpt"
    raise UserError(
        f"--ckpt_path {word}: no run in {root / LOGS} has a {word}.ckpt. Train one with fit, or give a file."
    )


def missing_run_dir(folder: Path) -> UserError:
    """Create the error of a run whose directory was renamed or removed during training."""
    return UserError(
        f"{folder} is missing: it was renamed or removed during the run. Its checkpoints are complete where "
        "it is now. Resume with `python -m vocseg resume FOLDER`."
    )


def newest_weights(root: Path, verb: str = "*") -> Path | None:
    """Find the newest `unet_voc.pth` of a verb below a folder of `lightning_logs`."""
    found = (root / LOGS).glob(f"{verb}/version_*/{WEIGHTS_NAME}")
    return max(found, key=lambda path: path.stat().st_mtime, default=None)


def mark(loggers: list[Any], folder: Path) -> dict[str, int]:
    """Flush the loggers and measure the files of a run, for `rewind`.

    Returns:
        Rows of metrics.csv, and bytes of each events file and of each checkpoint of other callbacks.
    """
    for logger in loggers:
        logger.save()
        flush = getattr(getattr(logger, "experiment", None), "flush", None)
        if callable(flush):
            with contextlib.suppress(OSError, ValueError):  # full disk
                flush()
    sizes = {path.name: path.stat().st_size for path in folder.glob(_EVENTS)}
    others = {name: path.stat().st_size for name, path in _other_checkpoints(folder).items()}
    return {_TABLE: count_rows(folder / _TABLE), **sizes, **others}


def rewind(folder: Path, marked: dict[str, int]) -> None:
    """Remove what a locked run wrote after a `mark`, and temporary files."""
    keep_rows(folder / _TABLE, marked.get(_TABLE, 0))
    for path in folder.glob(_EVENTS):
        size = marked.get(path.name)
        if size is None:
            path.unlink()
        elif path.stat().st_size > size:
            os.truncate(path, size)
    for name, path in _other_checkpoints(folder).items():
        if name not in marked:  # ModelCheckpoint would otherwise choose another name
            path.unlink()
    clear_leftovers(folder)


def _other_checkpoints(folder: Path) -> dict[str, Path]:
    """Checkpoints of a user's callbacks by relative path. Ours are replaced, never added."""
    paths = (path for path in folder.rglob("*.ckpt") if path.name not in ("last.ckpt", "best.ckpt"))
    return {path.relative_to(folder).as_posix(): path for path in paths}
