"""Bounded reading of regular files."""

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any

_TEXT_BYTES = 64 << 20  # of a list or a record; those of VOC have a few million at most


def read_regular(path: Path, most: int = _TEXT_BYTES) -> tuple[bytes, os.stat_result]:
    """The content of a plain file, and its size and times before it was read.

    Args:
        path: Where it is.
        most: Bytes that it may have.

    Raises:
        OSError: If it cannot be opened, is a folder, a pipe or a device, or is larger; `strerror` says which.
    """
    try:
        with open(path, "rb", opener=_opened_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "it is a pipe or a device, not a plain file")
            data = file.read(most + 1) if status.st_size <= most else b""
            if status.st_size > most or len(data) > most:
                raise OSError(errno.EFBIG, f"it has more than {most >> 20} MiB, which cannot be meant")
            return data, status
    except ValueError as fault:  # a NUL in the name
        raise OSError(errno.EINVAL, "its name cannot be one") from fault


def _opened_at_once(path: str, flags: int) -> int:
    """A descriptor, even of a pipe: opening one waits for a writer, perhaps for ever."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_json(path: Path, most: int = _TEXT_BYTES) -> Any:
    """The content of a JSON file.

    Raises:
        OSError: As `read_regular`.
        ValueError: If it is no JSON, or nested deeper than anything that is written here.
    """
    try:
        return json.loads(read_regular(path, most)[0])
    except RecursionError as fault:
        raise ValueError("it is nested too deep") from fault
