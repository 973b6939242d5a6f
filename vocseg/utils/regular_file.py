"""Regular files and JSON."""

import errno
import json
import os
import re
import stat
from math import isfinite
from pathlib import Path
from typing import Any

from vocseg.errors import UserError

_TEXT_BYTES = 64 << 20  # splits and records of VOC have a few MB


def read_regular(path: Path, most: int = _TEXT_BYTES) -> tuple[bytes, os.stat_result]:
    """Read a regular file.

    Args:
        path: The file.
        most: Maximum size in bytes.

    Returns:
        The content, and the file's status before it was read.

    Raises:
        OSError: If it cannot be opened, is not a regular file, or is larger. `strerror` has the reason.
    """

    def opener(name: str, flags: int) -> int:  # without O_NONBLOCK, opening a pipe waits for a writer
        return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))

    try:
        with open(path, "rb", opener=opener) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "it is a pipe or a device, not a plain file")
            if status.st_size > most:
                raise OSError(errno.EFBIG, f"it is larger than {most >> 20} MiB")
            return file.read(), status
    except ValueError as error:  # NUL in the name
        raise OSError(errno.EINVAL, "its name is invalid") from error


def read_json(path: Path, most: int = _TEXT_BYTES) -> Any:
    """Read a JSON file.

    Raises:
        OSError: As `read_regular`.
        ValueError: If it is not JSON, or nested too deep.
    """
    try:
        return json.loads(read_regular(path, most)[0])
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def as_json(values: Any) -> str:
    """Serialise plain values. NaN and infinity become null, as JSON has neither."""
    return json.dumps(_finite(values), indent=1, allow_nan=False)


def _finite(values: Any) -> Any:
    if isinstance(values, dict):
        return {key: _finite(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [_finite(value) for value in values]
    return None if isinstance(values, float) and not isfinite(values) else values


def local_file(path: str | Path, flag: str, where: str = "") -> Path:
    """Return the path of a regular local file.

    Args:
        path: Value of the flag.
        flag: Flag, for the error message.
        where: Examples of such files, for the error message.

    Raises:
        UserError: If it is a URL, missing, a folder, a pipe or a device.
    """
    path = Path(path)
    if re.match(r"[A-Za-z][\w+.-]+:[/:]|registry(:|$)", str(path)):
        raise UserError(f"{flag} {path}: is a URL. Download the file first, and give its local path")
    try:
        found = path.is_file()
    except (OSError, ValueError):  # a link to itself; NUL in the name
        found = False
    if not found:
        raise UserError(
            f"{flag} {path}: there is no such file, or it is a folder, a pipe or a device. "
            f"Give a regular file{where}"
        )
    return path
