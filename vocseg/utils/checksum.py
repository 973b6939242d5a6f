"""Checksums in the comment of zip files.

A zip file's own CRCs do not cover its tables, and torch does not verify them. The digest covers every byte.
Other readers ignore the comment. It protects against accidents, not against attacks.
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
_END, _END_BYTES = b"PK\x05\x06", 22  # end record of a zip file; its last two bytes are the comment's length
_CHUNK = 1 << 20


class DamagedError(Exception):
    """A zip file whose bytes are not those that were written."""


def append_checksum(file: IO[bytes]) -> None:
    """Append the digest to a complete zip file.

    Args:
        file: The file, open for reading and writing.

    Raises:
        DamagedError: If it is not a complete zip file.
    """
    file.seek(-_END_BYTES, os.SEEK_END)
    if not _is_end(file.read()):
        raise DamagedError("it has no end")
    file.seek(-2, os.SEEK_END)
    file.write(struct.pack("<H", len(_MARK) + _DIGITS) + _MARK)
    file.flush()
    digest = _digest(file, file.tell())
    file.seek(0, os.SEEK_END)
    file.write(digest)
    file.flush()


def verify_zip(path: Path, stored: bool = True) -> list[str]:
    """Verify a zip file by its digest, or by its CRCs if it has none.

    Args:
        path: The file.
        stored: Whether the content is uncompressed, as torch's is. Limits the declared size.

    Returns:
        The names of its entries.

    Raises:
        DamagedError: If it is damaged, or declares more than it can contain.
    """
    try:
        with path.open("rb") as file:
            has_digest = _verify_digest(file)
            with zipfile.ZipFile(file) as archive:
                declared = sum(entry.file_size for entry in archive.infolist())
                size = path.stat().st_size
                if declared > (size + (1 << 20) if stored else max(1 << 30, 20 * size)):
                    raise DamagedError(f"it declares {declared:,} bytes of content, but has {size:,}")
                damaged = None if has_digest else archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise DamagedError("its table of contents cannot be read, so its end may be missing") from error
    if damaged:
        raise DamagedError(f"its entry '{damaged}' is not what was written")
    return archive.namelist()


def _verify_digest(file: IO[bytes]) -> bool:
    """Verify the digest, or the end of a zip file without a comment. Return whether there is a digest."""
    size = file.seek(0, os.SEEK_END)
    length = min(size, _END_BYTES + len(_MARK) + _DIGITS)
    file.seek(-length, os.SEEK_END)
    tail = file.read()
    if tail[_END_BYTES:-_DIGITS] == _MARK:
        if _digest(file, size - _DIGITS) != tail[-_DIGITS:]:
            raise DamagedError("its bytes do not match the digest at its end")
        return True
    if not _is_end(tail[-_END_BYTES:]):
        raise DamagedError("its end is missing or not what was written")
    return False


def _is_end(end: bytes) -> bool:
    return end.startswith(_END) and end[-2:] == b"\0\0"


def _digest(file: IO[bytes], length: int) -> bytes:
    digest = xxhash.xxh3_128()
    file.seek(0)
    while length > 0 and (data := file.read(min(_CHUNK, length))):
        digest.update(data)
        length -= len(data)
    return digest.hexdigest().encode()
