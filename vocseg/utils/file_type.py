"""Checks of files given by flags."""

import re
from pathlib import Path

from vocseg.errors import UserError


def local_file(path: str | Path, flag: str, where: str = "") -> Path:
    """Return the path of a regular local file.

    Args:
        path: Value of the flag.
        flag: Flag, for the error message.
        where: Examples of files to use instead of a folder, for the error message.

    Raises:
        UserError: If it is a URL, missing, a folder, a pipe or a device.
    """
    path, url = Path(path), re.match(r"[A-Za-z][\w+.-]+:[/:]|registry(:|$)", str(path))
    try:
        if url is None and path.is_file():
            return path
        reason = "there is no such file"
        if url is not None:
            reason = "is a URL. Download the file first, and give its local path"
        elif path.is_dir():
            reason = f"is a folder. Give a file in it{where}"
        elif path.exists():
            reason = "is a pipe or a device. Give a regular file"
    except (OSError, ValueError) as error:  # ValueError: NUL in the name
        reason = f"cannot be opened ({error})"
    raise UserError(f"{flag} {url.string if url else path}: {reason}")


def foreign_type(start: bytes) -> str | None:
    """Describe a file by its first bytes. None: a zip file or a pickle, which torch may have written."""
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06", b"\x80")):
        return None
    page = b"<html" in start.lower() or b"<!doctype" in start.lower()
    what = "a web page, perhaps of a failed download" if page else "not a file that torch writes"
    return what if start else "empty (0 bytes)"
