"""Checksums in the comment of zip files.

Zip's own checksums leave its tables out, and torch reads without looking at them. A digest notices every
change; whoever knows nothing of it reads the file as before. Like the checksums it guards against accidents,
not against people.
"""

import os
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO

import xxhash

_MARK = b"vocseg xxh3-128 "
_DIGITS = 32
_END, _END_BYTES = (
    b"PK\x05\x06",
    22,
)  # of a zip file without a comment; its last two bytes are the comment's length
_CHUNK = 1 << 20


class DamagedError(Exception):
    """A zip file whose bytes are not those that were written."""


def append_checksum(file: IO[bytes]) -> None:
    """Append the digest to a finished zip file.

    Args:
        file: Open for reading and writing.

    Raises:
        DamagedError: If it is not a whole zip file.
    """
    file.seek(-_END_BYTES, os.SEEK_END)
    end = file.read()
    if not end.startswith(_END) or end[-2:] != b"\0\0":
        raise DamagedError("it has no end")
    file.seek(-2, os.SEEK_END)
    file.write(struct.pack("<H", len(_MARK) + _DIGITS) + _MARK)
    file.flush()
    digest = _digest(file, file.tell())
    file.seek(0, os.SEEK_END)
    file.write(digest)
    file.flush()


def verify_zip(path: Path, stored: bool = True) -> list[str]:
    """See that a zip file is as it was written: by its digest, or if it has none by zip's own checksums.

    Args:
        path: The file.
        stored: Whether its content takes no more room in memory than in the file, as torch's does.

    Returns:
        The names of its entries.

    Raises:
        DamagedError: If it is not, or declares more than it can hold.
    """
    try:
        with path.open("rb") as file:
            sealed = _is_sealed(file)
            with zipfile.ZipFile(file) as archive:
                _check_declared(archive.infolist(), path.stat().st_size, stored)
                damaged = None if sealed else archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as fault:
        raise DamagedError("its table of contents cannot be read, so its end may be missing") from fault
    if damaged:
        raise DamagedError(f"'{damaged}' in it is not what was written")
    return archive.namelist()


def _is_sealed(file: IO[bytes]) -> bool:
    """Whether there is a digest; a file without one must end as zip files do that have no comment.

    Raises:
        DamagedError: If there is one, but of other bytes, or neither.
    """
    size = file.seek(0, os.SEEK_END)
    length = min(size, _END_BYTES + len(_MARK) + _DIGITS)
    file.seek(-length, os.SEEK_END)
    tail = file.read()
    if tail[_END_BYTES:-_DIGITS] == _MARK:
        if _digest(file, size - _DIGITS) != tail[-_DIGITS:]:
            raise DamagedError("its bytes do not agree with the digest at its end")
        return True
    end = tail[-_END_BYTES:]
    if not end.startswith(_END) or end[-2:] != b"\0\0":
        raise DamagedError("its end is missing or not what was written")
    return False


def _check_declared(entries: list[zipfile.ZipInfo], size: int, stored: bool) -> None:
    """Whether entries could be what they say, before memory is laid out for them."""
    for entry in entries:
        parts = entry.filename.replace("\\", "/").split("/")
        if ".." in parts or not parts[0]:
            raise DamagedError(f"its entry '{entry.filename[:80]}' leads out of it")
    declared = sum(entry.file_size for entry in entries)
    if declared > (size + (1 << 20) if stored else max(1 << 30, 20 * size)):
        raise DamagedError(f"it declares {declared:,} bytes of content, but has {size:,}")


def _digest(file: IO[bytes], length: int) -> bytes:
    """Hexadecimal digits over the first bytes."""
    digest = xxhash.xxh3_128()
    file.seek(0)
    while length > 0 and (data := file.read(min(_CHUNK, length))):
        digest.update(data)
        length -= len(data)
    return digest.hexdigest().encode()
