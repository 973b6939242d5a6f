"""Checks of file contents.

A JPEG has no checksum, and most damaged ones decode without an error; what shows is a marker that does not
exist, a hole of zeros, or a missing end. A PNG has a checksum on every part.
Sources: ITU-T T.81 annex B; PNG (W3C) chapter 5.
"""

import io
import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError

from vocseg.data.audit.findings import Finding, UnreadableFile
from vocseg.data.image_io import MOST_BYTES, MOST_PIXELS, TO_8_BITS
from vocseg.utils.regular_file import read_regular

_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # in coded data, 00 escapes an FF, and D0..D7 restart
_BARE = {0x01, *range(0xD0, 0xD9)}  # markers that nothing belongs to
_END, _SCAN = 0xD9, 0xDA
_HOLE = bytes(2048)  # no coded picture of usual size holds as many zeros, a file with a lost block does


class StreamFault(NamedTuple):
    """What is wrong with the bytes, as the kind of finding and in words."""

    kind: str
    text: str


def stream_fault(data: bytes) -> StreamFault | None:
    """What is wrong with the bytes of a JPEG or a PNG; None: nothing, or another format."""
    try:
        if data.startswith(b"\xff\xd8"):
            return _jpeg(data)
        if data.startswith(b"\x89PNG"):
            return _png(data)
    except IndexError:
        return StreamFault("truncated", "its end is missing: restore it from the archive")
    return None


def _jpeg(data: bytes) -> StreamFault | None:
    position = 2
    while True:
        if data[position] != 0xFF:
            return _damaged(position, "where a marker is due")
        while data[position] == 0xFF:  # any number of them may fill up
            position += 1
        marker, position = data[position], position + 1
        if marker == _END:
            return _rest(data, position)
        if marker < 0xC0 and marker not in _BARE:
            return _damaged(position, f"by the marker {marker:02x}, which JPEG does not have")
        if marker in _BARE:
            continue
        position += data[position] << 8 | data[position + 1]
        if marker == _SCAN:
            end = _SCAN_END.search(data, position)
            hole = data.find(_HOLE, position, end.start() if end else len(data))
            if hole >= 0:
                return _damaged(hole, "by a hole of zeros")
            if end is None:
                raise IndexError
            position = end.start()


def _png(data: bytes) -> StreamFault | None:
    position = 8
    while True:
        length, name = int.from_bytes(data[position : position + 4], "big"), data[position + 4 : position + 8]
        end = position + 8 + length
        if end + 4 > len(data):
            raise IndexError
        if zlib.crc32(data[position + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            return _damaged(position, f"in the part {name.decode('latin-1')!r}, whose checksum is wrong")
        position = end + 4
        if name == b"IEND":
            return _rest(data, position)


def _damaged(position: int, how: str) -> StreamFault:
    return StreamFault("damaged", f"it is damaged at byte {position:,} {how}: restore it from the archive")


def _rest(data: bytes, end: int) -> StreamFault | None:
    more = len(data) - end
    return StreamFault("trailing-bytes", f"{more:,} bytes follow the end of the picture") if more else None


_WIDE = ("I", "F")  # with `I;16` and its kin, the modes of more than 8 bits
_PROGRAMS = {"EPS", "WMF"}  # formats that PIL has other programs decode


@dataclass(frozen=True)
class DecodedFile:
    """A file that was read and decoded whole.

    Attributes:
        name: Its path within the `VOC2012` folder.
        status: Taken before it was read.
        data: Its bytes.
        picture: Decoded.
        findings: What is wrong all the same.
    """

    name: str
    status: os.stat_result
    data: bytes
    picture: Image.Image
    findings: tuple[Finding, ...]


def open_whole(path: Path, name: str) -> DecodedFile:
    """Read a file once and decode it.

    Raises:
        Unusable: If it cannot be read or decoded, or holds several pictures or more than 8 bits a channel.
    """
    try:
        data, status = read_regular(path, MOST_BYTES)
    except OSError as fault:
        raise UnreadableFile(
            Finding(name, "unreadable", f"it cannot be opened ({fault.strerror})")
        ) from fault
    if not data:
        raise UnreadableFile(Finding(name, "empty-file", "it has 0 bytes: restore it from the archive"))
    picture = _decode(data, name)
    if picture.mode.startswith(_WIDE) or (picture.format == "PNG" and data[24] == 16):
        text = f"it has 16 or more bits a channel (mode {picture.mode}): save it with 8, as by {TO_8_BITS}"
        raise UnreadableFile(Finding(name, "sixteen-bit", text))
    findings = [_check_format(picture, path, name)]
    fault_of_bytes = stream_fault(data)
    if fault_of_bytes is not None:
        findings.append(Finding(name, *fault_of_bytes))
    return DecodedFile(
        name, status, data, picture, tuple(finding for finding in findings if finding is not None)
    )


def _decode(data: bytes, name: str) -> Image.Image:
    try:
        with Image.open(io.BytesIO(data)) as picture:
            if picture.format in _PROGRAMS:
                raise UnidentifiedImageError(picture.format)
            frames = getattr(picture, "n_frames", 1)
            if frames > 1:
                text = f"it is a {picture.format} of {frames} pictures: keep one of them"
                raise UnreadableFile(Finding(name, "animated", text))
            if picture.width * picture.height > MOST_PIXELS:
                raise Image.DecompressionBombError(f"{picture.width}x{picture.height} pixels")
            picture.load()
            return picture
    except Image.DecompressionBombError as fault:
        raise UnreadableFile(Finding(name, "too-large", f"it is larger than PIL opens ({fault})")) from fault
    except Exception as fault:  # PIL's decoders raise nearly anything on damaged bytes
        if isinstance(fault, UnreadableFile | MemoryError):
            raise
        raise UnreadableFile(_undecodable(data, fault, name)) from fault


def _undecodable(data: bytes, fault: Exception, name: str) -> Finding:
    """What the bytes say of a file that did not decode, or else what the decoder says."""
    known = stream_fault(data)
    if known is not None and known.kind != "trailing-bytes":
        return Finding(name, *known)
    if isinstance(fault, UnidentifiedImageError):
        text = f"it is no picture (it begins with {data[:12]!r}): restore it from the archive"
        return Finding(name, "unreadable", text)
    kind = "truncated" if "truncated" in str(fault).lower() else "unreadable"
    said = " ".join(str(fault).split())
    return Finding(name, kind, f"it cannot be decoded ({said}): restore it from the archive")


def _check_format(picture: Image.Image, path: Path, name: str) -> Finding | None:
    """Whether the content is what the ending says; programs that go by the ending fail otherwise."""
    expected = Image.registered_extensions().get(path.suffix.lower())
    if picture.format == expected or expected is None:
        return None
    return Finding(name, "wrong-format", f"it is called {path.suffix}, but is a {picture.format}")
