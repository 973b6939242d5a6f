"""Files that are there whole or not at all, whenever the process stops or the disk becomes full."""

import contextlib
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from vocseg.errors import UserError
from vocseg.file_parts import clear_once, part_of

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class UnwritableError(UserError, OSError):
    """A file that could not be written, said in a sentence; the one it was to replace is as it was."""

    def __init__(self, path: Path, fault: OSError, needed: int | None = None) -> None:
        """Say it.

        Args:
            path: The file.
            fault: What the system said.
            needed: Bytes that the file takes, if that is known.
        """
        reason = fault.strerror or str(fault)
        remedy = "make its folder writable, or name another"
        if fault.errno in _FULL:
            takes = f", and it takes {_megabytes(needed)}" if needed else ""
            reason += f": {_megabytes(shutil.disk_usage(path.parent).free)} are free{takes}"
            remedy = "make room, or name another folder"
        kept = "; the file of that name is as it was" if path.exists() else ""
        super().__init__(f"{path} cannot be written ({reason}): {remedy}{kept}")
        self.errno, self.strerror = fault.errno, reason

    def __str__(self) -> str:
        return str(self.args[0])


@contextlib.contextmanager
def whole_file(
    path: Path, check: Callable[[IO[bytes]], None] | None = None, needed: int | None = None
) -> Iterator[IO[bytes]]:
    """A file to write to, which takes its place once the block has ended well and its bytes are on the disk.

    It is written in the same folder, hence on the same file system. What processes that were killed have left
    there of such files is cleared away.

    Args:
        path: Its place.
        check: Looks at the file when it is on the disk, and raises if it is not as it should be.
        needed: Bytes that it takes, if that is known, to be told if the disk is full.

    Raises:
        UnwritableError: If it cannot be written.
    """
    path = Path(os.path.realpath(path))  # a link stays one
    try:
        if path.exists() and not path.is_file():
            raise OSError(errno.EINVAL, "there is a folder, pipe or device of that name")
        path.parent.mkdir(parents=True, exist_ok=True)
        clear_once(path.parent)
        with part_of(path) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if check is not None:
                check(file)
            os.replace(file.name, path)
        _sync_folder(path.parent)
    except UserError:
        raise
    except (OSError, RuntimeError) as fault:
        cause = _system_fault(fault)
        if cause is None:
            raise
        raise UnwritableError(path, cause, needed) from fault


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file so that it is there whole or not at all.

    Raises:
        UnwritableError: If it cannot be written.
    """
    with whole_file(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def _sync_folder(folder: Path) -> None:
    """Put the name on the disk too, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _system_fault(fault: BaseException | None) -> OSError | None:
    """What the system said: torch hides a full disk behind an error of its own."""
    while fault is not None:
        if isinstance(fault, OSError):
            return fault
        fault = fault.__cause__ or fault.__context__
    return None


def _megabytes(number: int | Any) -> str:
    return f"{number / 1e6:,.1f} MB"
