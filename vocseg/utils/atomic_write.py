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
from typing import IO

from vocseg.errors import UserError

_PART = re.compile(r"\..*\.\d+\.\d+\.part")
_NAME_BYTES = 200  # of the name are used in the temporary name: file systems allow 255
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

_numbers = count()
_cleared: set[tuple[int, Path]] = set()  # process and folder


if sys.platform == "win32":

    def _lock(file: IO[bytes]) -> bool:
        return False  # other processes are unknown there: their files stay

else:
    import fcntl

    def _lock(file: IO[bytes]) -> bool:
        """Return whether no other process writes the file. Some file systems cannot lock."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


class UnwritableError(UserError, OSError):
    """A file that could not be written. A previous file of that name is unchanged."""

    def __init__(self, path: Path, error: OSError) -> None:
        reason = error.strerror or str(error)
        remedy = "Make its folder writable, or use another"
        if error.errno in _FULL:
            reason += f": {shutil.disk_usage(path.parent).free / 1e6:,.1f} MB are free"
            remedy = "Make room, or use another folder"
        unchanged = " The existing file is unchanged." if path.exists() else ""
        super().__init__(f"{path} cannot be written ({reason}). {remedy}.{unchanged}")
        self.errno, self.strerror = error.errno, reason

    def __str__(self) -> str:
        return str(self.args[0])


@contextlib.contextmanager
def atomic_open(path: Path, check: Callable[[IO[bytes]], None] | None = None) -> Iterator[IO[bytes]]:
    """Open a temporary file that replaces `path` when the block ends without an error.

    The file is written in the same folder, and synced before it is renamed. Temporary files of killed
    processes are removed from the folder.

    Args:
        path: Final path.
        check: Called with the synced file before it is renamed. Raises if the file is invalid.

    Raises:
        UnwritableError: If it cannot be written.
    """
    path = Path(os.path.realpath(path))  # a link stays a link
    try:
        if path.exists() and not path.is_file():
            raise OSError(errno.EINVAL, "there is a folder, pipe or device of that name")
        path.parent.mkdir(parents=True, exist_ok=True)
        _clear_once(path.parent)
        with _temporary_file(path) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            if check is not None:
                check(file)
            os.replace(file.name, path)
        with contextlib.suppress(OSError):
            _sync(path.parent)  # makes the new name durable; not every system can do it for a folder
    except UserError:
        raise
    except (OSError, RuntimeError) as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, OSError):  # torch wraps the error of a full disk
            cause = cause.__cause__ or cause.__context__
        if cause is None:
            raise
        raise UnwritableError(path, cause) from error


def atomic_write(path: Path, content: str | bytes) -> None:
    """Write a file atomically.

    Raises:
        UnwritableError: If it cannot be written.
    """
    with atomic_open(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def _temporary_file(path: Path) -> Iterator[IO[bytes]]:
    """A locked file beside another. It is removed at the end unless it was renamed."""
    name = path.name.encode()[:_NAME_BYTES].decode(errors="ignore")
    part = path.with_name(f".{name}.{os.getpid()}.{next(_numbers)}.part")
    file = part.open("w+b")
    _lock(file)
    while not part.exists():  # another process removed it before it was locked
        file.close()
        file = part.open("w+b")
        _lock(file)
    try:
        with file:
            yield file
    finally:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()


def _clear_once(folder: Path) -> None:
    """Remove temporary files of dead processes, once per folder, which may contain thousands of files."""
    if (os.getpid(), folder) in _cleared:
        return
    _cleared.add((os.getpid(), folder))
    for name in filter(_PART.fullmatch, os.listdir(folder)):
        with contextlib.suppress(OSError), (folder / name).open("rb") as file:
            if _lock(file):
                os.unlink(folder / name)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class AtomicFolder:
    """A folder that is filled under a hidden name, and renamed when all its files are synced.

    A killed process leaves at most the hidden folder. Several processes may fill it together, also on several
    machines.
    """

    # Files are synced together at the end: by then the system has written most of them.

    def __init__(self, path: Path, alone: bool = False) -> None:
        """Create the hidden folder, and remove an existing one of the final name.

        Args:
            path: Final path.
            alone: Only this process fills the folder. Leftovers of a killed process are removed.

        Raises:
            OSError: If it cannot be created.
        """
        self._path = path
        self._part = path.with_name(f".{path.name}.part")
        self._written: list[Path] = []
        shutil.rmtree(
            path, ignore_errors=True
        )  # not later: another process may have renamed the new one by then
        if alone:
            shutil.rmtree(self._part, ignore_errors=True)
        self._part.mkdir(parents=True, exist_ok=True)

    def write(self, name: str, content: bytes) -> None:
        """Write a file. Its name may contain sub-folders.

        Raises:
            OSError: If it cannot be written.
        """
        path = self._part / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self._written.append(path)

    def settle(self) -> None:
        """Sync the files that this process wrote.

        Raises:
            OSError: If they cannot be synced.
        """
        for path in self._written:
            _sync(path)
        with contextlib.suppress(OSError):  # not every system can do it for a folder
            _sync(self._part)

    def reveal(self) -> None:
        """Rename the folder to its final name. Call it when all processes have settled.

        Raises:
            OSError: If it cannot be renamed.
        """
        with contextlib.suppress(FileNotFoundError):  # another process did
            self._part.rename(self._path)
        with contextlib.suppress(OSError):
            _sync(self._path.parent)

    def drop(self) -> None:
        """Remove the hidden folder."""
        shutil.rmtree(self._part, ignore_errors=True)
