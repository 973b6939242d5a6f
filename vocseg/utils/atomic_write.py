"""Atomic writing of files and folders."""

import contextlib
import errno
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import IO, Any

from vocseg.errors import UserError

_PART = re.compile(r"\..*\.\d+\.\d+\.part")
_NAME_BYTES = 200  # of a name are kept in its part's, since file systems allow 255

_numbers = count()
_cleared: set[tuple[int, Path]] = set()  # process and folder


@contextlib.contextmanager
def part_of(path: Path) -> Iterator[IO[bytes]]:
    """A new file beside another, locked while it is written, and gone at the end if it still has its name."""
    name = path.name.encode()[:_NAME_BYTES].decode(errors="ignore")
    part = path.with_name(f".{name}.{os.getpid()}.{next(_numbers)}.part")
    file = part.open("w+b")
    _lock(file)
    while not part.exists():  # another process took it for an old one before it was locked
        file.close()
        file = part.open("w+b")
        _lock(file)
    try:
        with file:
            yield file
    finally:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()


def clear_once(folder: Path) -> None:
    """Clear a folder, once in a process: folders of predictions hold thousands of files."""
    if (os.getpid(), folder) not in _cleared:
        _cleared.add((os.getpid(), folder))
        _clear(folder)


def _clear(folder: Path) -> None:
    """Remove what writers of whole files have left in a folder that are no more; live ones hold a lock."""
    for name in os.listdir(folder):
        if not _PART.fullmatch(name):
            continue
        with contextlib.suppress(OSError), (folder / name).open("rb") as file:
            if _lock(file):
                os.unlink(folder / name)


if sys.platform == "win32":

    def _lock(file: IO[bytes]) -> bool:
        """There, nothing is known of other processes: their files stay."""
        return False

else:
    import fcntl

    def _lock(file: IO[bytes]) -> bool:
        """Whether nobody else writes the file; some file systems cannot tell."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


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
def atomic_open(
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


def atomic_write(path: Path, content: str | bytes) -> None:
    """Write a file so that it is there whole or not at all.

    Raises:
        UnwritableError: If it cannot be written.
    """
    with atomic_open(path) as file:
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


class AtomicFolder:
    """Takes files under another name, and gets its own when all of them are on the disk.

    Bringing each file to the disk as it comes would cost more than what fills it; at the end the system has
    written most of them already. A process that is killed leaves no folder of that name, and at most a hidden
    one beside it. Several processes may fill it, on one machine or on several that share the disk or do not.
    """

    def __init__(self, path: Path, alone: bool = False) -> None:
        """Make the hidden folder, and take an old one of that name away.

        Args:
            path: Its place.
            alone: Whether no other process fills it: what a killed one left in the hidden folder is removed.

        Raises:
            OSError: If it cannot be made.
        """
        self._path = path
        self._part = path.with_name(f".{path.name}.part")
        self._mine: list[Path] = []
        shutil.rmtree(path, ignore_errors=True)  # later, another process may have given the new one its name
        if alone:
            shutil.rmtree(self._part, ignore_errors=True)
        self._part.mkdir(parents=True, exist_ok=True)

    def write(self, name: str, content: bytes) -> None:
        """Add a file, in a sub-folder if its name has one.

        Raises:
            OSError: If it cannot be written.
        """
        path = self._part / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self._mine.append(path)

    def link(self, name: str, file: Path) -> None:
        """Add a hard link to a file that exists.

        Raises:
            OSError: If it lies on another disk, or the file system has no links.
        """
        path = self._part / name
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(file.resolve(), path)

    def settle(self) -> None:
        """Bring the files that this process wrote to the disk.

        Raises:
            OSError: If they cannot be brought there.
        """
        for path in self._mine:
            _sync(path)
        with contextlib.suppress(OSError):  # not every system can do it for a folder
            _sync(self._part)

    def reveal(self) -> None:
        """Give the folder its name, when all processes have settled; whoever comes first does it.

        Raises:
            OSError: If it cannot be renamed.
        """
        with contextlib.suppress(FileNotFoundError):  # another process did
            self._part.rename(self._path)
        with contextlib.suppress(OSError):
            _sync(self._path.parent)

    def drop(self) -> None:
        """Leave nothing of it, unless it has its name."""
        shutil.rmtree(self._part, ignore_errors=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
