"""Files while they are written: beside their place, under a name of their own, locked."""

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import IO

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
