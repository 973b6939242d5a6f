"""The folder that a set is put into: one process at a time, with room enough, and writable."""

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from vocseg.errors import UserError

_ELSEWHERE = "free some space there, or name another folder with --root (--data.root for fit)"
_USERS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def alone_in(root: Path) -> Iterator[None]:
    """Make the folder, and work in it while no other process does.

    Raises:
        UserError: If it cannot be made or written to, or becomes full.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise UserError(f"the folder {root} cannot be made ({fault.strerror}): name another one") from fault
    try:
        with _lock(root):
            yield
    except OSError as fault:
        if fault.errno not in _USERS:
            raise
        where = fault.filename or root
        raise UserError(f"{where} cannot be read or written ({fault.strerror}): {_ELSEWHERE}") from fault


def check_room(root: Path, title: str, fetch: int, unpack: int) -> None:
    """Refuse before anything is written.

    Args:
        root: An existing folder.
        title: What is to be put there.
        fetch: Bytes still to be fetched.
        unpack: Bytes that it takes unpacked.

    Raises:
        UserError: If less is free.
    """
    needed, free = fetch + unpack, shutil.disk_usage(root).free
    if free < needed:
        raise UserError(
            f"{title} needs {needed / 1e9:.1f} GB in {root} ({fetch / 1e9:.1f} to fetch, {unpack / 1e9:.1f} "
            f"unpacked), but {free / 1e9:.1f} GB are free: {_ELSEWHERE}"
        )


@contextmanager
def _lock(root: Path) -> Iterator[None]:
    lock = FileLock(root / ".download.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"another process is at work in {root}: waiting for it to finish")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
