"""Reading an archive of which nothing is believed: entry by entry, in memory, never more than is due."""

import gzip
import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from vocseg.errors import UserError, shown

_GZIP = b"\x1f\x8b"
_OTHERS = {
    b"PK\x03\x04": "a zip file",
    b"BZh": "compressed with bzip2",
    b"\xfd7zXZ": "compressed with xz",
    b"\x28\xb5\x2f\xfd": "compressed with zstd",
    b"7z\xbc\xaf": "a 7-zip file",
    b"Rar!": "a rar file",
}


class UnusableArchiveError(Exception):
    """An archive that cannot be read further, with the kind of fault."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Entry(NamedTuple):
    """One entry of an archive; `data` is None where it is no plain file, or too large."""

    header: tarfile.TarInfo
    data: bytes | None


class _Bounded(io.RawIOBase):
    """A stream that refuses to give more than so many bytes, so that a few cannot become endlessly many."""

    def __init__(self, stream: gzip.GzipFile | BinaryIO, most: int) -> None:
        super().__init__()
        self._stream, self._left, self._most = stream, most, most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = self._stream.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            text = f"it unpacks to more than {self._most / 1e6:,.0f} MB: it was not read further"
            raise UnusableArchiveError("too-much", text)
        buffer[: len(data)] = data
        return len(data)


def packing_fault(archive: Path) -> str | None:
    """What is wrong with how an archive is packed; None: it is gzip, as its name says.

    Raises:
        UserError: If there is no such file.
    """
    start = _start(archive)
    named = archive.name.lower().endswith((".tar.gz", ".tgz"))
    for mark, what in _OTHERS.items():
        if start.startswith(mark):
            return f"it is {what}: pack it as .tar.gz"
    if not start.startswith(_GZIP):
        plain = bool(start) and _is_tar(archive)
        return "it is a plain tar: the server wants it compressed with gzip" if plain else "it is no archive"
    return None if named else "call it .tar.gz or .tgz"


def _is_tar(archive: Path) -> bool:
    try:
        return tarfile.is_tarfile(archive)
    except Exception:  # headers that announce headers without end exceed Python's depth
        return False


def entries(
    archive: Path, most_bytes: int, most_entries: int, most_of: Callable[[str], int]
) -> Iterator[Entry]:
    """What an archive (`.tar`, or packed with gzip) holds, in its order.

    Args:
        archive: The file.
        most_bytes: How much it may unpack to.
        most_entries: How many entries it may have.
        most_of: The bytes that an entry of a given name may have, to be read.

    Raises:
        UnusableArchiveError: If it cannot be read to its end, or holds too much.
    """
    try:
        with archive.open("rb") as file:
            packed = _start(archive).startswith(_GZIP)
            stream = _Bounded(gzip.GzipFile(fileobj=file) if packed else file, most_bytes)
            with tarfile.open(fileobj=stream, mode="r|") as tar:
                yield from _entries(tar, most_entries, most_of)
            while stream.read(1 << 16):  # to the end, where the checksum is
                pass
    except UnusableArchiveError:
        raise
    except Exception as fault:  # beside its own errors, tarfile lets those of numbers and depth through
        said = shown(" ".join(str(fault).split()), 120) or type(fault).__name__
        raise UnusableArchiveError("archive-damaged", f"{said}: pack it anew") from fault


def _entries(tar: tarfile.TarFile, most: int, most_of: Callable[[str], int]) -> Iterator[Entry]:
    for count, header in enumerate(tar):
        if count >= most:
            raise UnusableArchiveError("too-much", f"more than {most:,} entries: it was not read further")
        file = tar.extractfile(header) if header.isreg() and header.size <= most_of(header.name) else None
        yield Entry(header, file.read() if file else None)


def _start(archive: Path) -> bytes:
    """The first bytes of a file.

    Raises:
        UserError: If it cannot be read.
    """
    if archive.exists() and not archive.is_file():  # a pipe would be waited for without end
        raise UserError(f"--check {archive}: is no plain file; name an archive")
    try:
        with archive.open("rb") as file:
            return file.read(8)
    except OSError as fault:
        raise UserError(f"--check {archive}: cannot be read ({fault.strerror})") from fault
