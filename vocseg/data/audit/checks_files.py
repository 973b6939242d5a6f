"""Checks of files.

A JPEG has no checksum, and most corrupt ones decode without an error; detected are
invalid markers, runs of zeros and a missing end. Every chunk of a PNG has a checksum.
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
_BARE = {0x01, *range(0xD0, 0xD9)}  # markers without a payload
_END, _SCAN = 0xD9, 0xDA
_HOLE = bytes(2048)  # a lost disk block; coded data has no such run of zeros


class StreamFault(NamedTuple):
    """Corruption of a file, as the kind and the text of a finding."""

    kind: str
    text: str


def stream_fault(data: bytes) -> StreamFault | None:
    """Return the corruption of a JPEG or PNG; None: none found, or another format."""
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
            return _damaged(position, "where a marker is expected")
        while data[position] == 0xFF:  # fill bytes
            position += 1
        marker, position = data[position], position + 1
        if marker == _END:
            return _rest(data, position)
        if marker < 0xC0 and marker not in _BARE:
            return _damaged(position, f"by the invalid marker {marker:02x}")
        if marker in _BARE:
            continue
        position += data[position] << 8 | data[position + 1]
        if marker == _SCAN:
            end = _SCAN_END.search(data, position)
            hole = data.find(_HOLE, position, end.start() if end else len(data))
            if hole >= 0:
                return _damaged(hole, "by a run of zeros")
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
            return _damaged(position, f"in the chunk {name.decode('latin-1')!r}, whose checksum is wrong")
        position = end + 4
        if name == b"IEND":
            return _rest(data, position)


def _damaged(position: int, how: str) -> StreamFault:
    return StreamFault("damaged", f"corrupt at byte {position:,} {how}: restore it from the archive")


def _rest(data: bytes, end: int) -> StreamFault | None:
    more = len(data) - end
    return StreamFault("trailing-bytes", f"{more:,} bytes follow the end of the image") if more else None


_WIDE = ("I", "F")  # with `I;16` and its kin, the modes of more than 8 bits
_PROGRAMS = {"EPS", "WMF"}  # formats that PIL decodes by external programs


@dataclass(frozen=True)
class DecodedFile:
    """A decoded file.

    Attributes:
        name: Path within the `VOC2012` folder.
        status: Taken before reading.
        data: Content of the file.
        image: The decoded image.
        findings: Findings that do not prevent decoding.
    """

    name: str
    status: os.stat_result
    data: bytes
    image: Image.Image
    findings: tuple[Finding, ...]


def open_decoded(path: Path, name: str) -> DecodedFile:
    """Read a file once and decode it.

    Raises:
        UnreadableFile: If it cannot be decoded, is animated, or has more than 8 bits per channel.
    """
    try:
        data, status = read_regular(path, MOST_BYTES)
    except OSError as error:
        raise UnreadableFile(Finding(name, "unreadable", f"cannot be opened: {error.strerror}")) from error
    if not data:
        raise UnreadableFile(Finding(name, "empty-file", "it has 0 bytes: restore it from the archive"))
    image = _decode(data, name)
    if image.mode.startswith(_WIDE) or (image.format == "PNG" and data[24] == 16):
        text = f"16 or more bits per channel (mode {image.mode}): save it with 8, e.g. by {TO_8_BITS}"
        raise UnreadableFile(Finding(name, "sixteen-bit", text))
    findings = []
    expected = Image.registered_extensions().get(path.suffix.lower())
    if expected not in (None, image.format):  # programs that go by the suffix fail
        text = f"the suffix is {path.suffix}, but the format is {image.format}: rename or convert it"
        findings.append(Finding(name, "wrong-format", text))
    corruption = stream_fault(data)
    if corruption is not None:
        findings.append(Finding(name, *corruption))
    return DecodedFile(name, status, data, image, tuple(findings))


def _decode(data: bytes, name: str) -> Image.Image:
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.format in _PROGRAMS:
                raise UnidentifiedImageError(image.format)
            frames = getattr(image, "n_frames", 1)
            if frames > 1:
                text = f"a {image.format} of {frames} images: keep one of them"
                raise UnreadableFile(Finding(name, "animated", text))
            if image.width * image.height > MOST_PIXELS:
                raise Image.DecompressionBombError(f"{image.width}x{image.height} pixels")
            image.load()
            return image
    except Image.DecompressionBombError as error:
        raise UnreadableFile(Finding(name, "too-large", f"more pixels than allowed ({error})")) from error
    except Exception as error:  # PIL raises nearly anything on corrupt bytes
        if isinstance(error, UnreadableFile | MemoryError):
            raise
        raise UnreadableFile(_undecodable(data, error, name)) from error


def _undecodable(data: bytes, error: Exception, name: str) -> Finding:
    """Finding of a file that did not decode: from its bytes, else from the decoder's error."""
    known = stream_fault(data)
    if known is not None and known.kind != "trailing-bytes":
        return Finding(name, *known)
    if isinstance(error, UnidentifiedImageError):
        text = f"not an image (it begins with {data[:12]!r}): restore it from the archive"
        return Finding(name, "unreadable", text)
    kind = "truncated" if "truncated" in str(error).lower() else "unreadable"
    reason = " ".join(str(error).split())
    return Finding(name, kind, f"cannot be decoded ({reason}): restore it from the archive")
