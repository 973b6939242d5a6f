"""A folder of many small files, which is there with all of them or not at all."""

import contextlib
import os
import shutil
from pathlib import Path


class WholeFolder:
    """Takes files under another name, and gets its own when all of them are on the disk.

    Bringing each file to the disk as it comes would cost more than what fills it; at the end the system has
    written most of them already. A process that is killed leaves no folder of that name, and at most a hidden
    one beside it. Several processes may fill it, on one machine or on several that share the disk or do not.
    """

    def __init__(self, path: Path) -> None:
        """Make the hidden folder, and take an old one of that name away.

        Args:
            path: Its place.

        Raises:
            OSError: If it cannot be made.
        """
        self._path = path
        self._part = path.with_name(f".{path.name}.part")
        self._mine: list[Path] = []
        shutil.rmtree(path, ignore_errors=True)  # later, another process may have given the new one its name
        self._part.mkdir(parents=True, exist_ok=True)

    def write(self, name: str, content: bytes) -> None:
        """Add a file.

        Raises:
            OSError: If it cannot be written.
        """
        path = self._part / name
        path.write_bytes(content)
        self._mine.append(path)

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
