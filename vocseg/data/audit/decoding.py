"""Opening one file of a picture, with what is wrong with it whatever it shows."""

import io
import os
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from vocseg.data.audit.findings import Finding, Unusable
from vocseg.data.audit.streams import stream_fault
from vocseg.data.decoding import TO_8_BITS
from vocseg.data.png import MOST_PIXELS
from vocseg.data.reading import MOST_BYTES
from vocseg.plain_files import read_plain

_WIDE = ("I", "F")  # with `I;16` and its kin, the modes of more than 8 bits
_PROGRAMS = {"EPS", "WMF"}  # formats that PIL has other programs decode


@dataclass(frozen=True)
class Opened:
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


def open_whole(path: Path, name: str) -> Opened:
    """Read a file once and decode it.

    Raises:
        Unusable: If it cannot be read or decoded, or holds several pictures or more than 8 bits a channel.
    """
    try:
        data, status = read_plain(path, MOST_BYTES)
    except OSError as fault:
        raise Unusable(Finding(name, "unreadable", f"it cannot be opened ({fault.strerror})")) from fault
    if not data:
        raise Unusable(Finding(name, "empty-file", "it has 0 bytes: restore it from the archive"))
    picture = _decode(data, name)
    if picture.mode.startswith(_WIDE) or (picture.format == "PNG" and data[24] == 16):
        text = f"it has 16 or more bits a channel (mode {picture.mode}): save it with 8, as by {TO_8_BITS}"
        raise Unusable(Finding(name, "sixteen-bit", text))
    findings = [_check_format(picture, path, name)]
    fault_of_bytes = stream_fault(data)
    if fault_of_bytes is not None:
        findings.append(Finding(name, *fault_of_bytes))
    return Opened(name, status, data, picture, tuple(finding for finding in findings if finding is not None))


def _decode(data: bytes, name: str) -> Image.Image:
    try:
        with Image.open(io.BytesIO(data)) as picture:
            if picture.format in _PROGRAMS:
                raise UnidentifiedImageError(picture.format)
            frames = getattr(picture, "n_frames", 1)
            if frames > 1:
                text = f"it is a {picture.format} of {frames} pictures: keep one of them"
                raise Unusable(Finding(name, "animated", text))
            if picture.width * picture.height > MOST_PIXELS:
                raise Image.DecompressionBombError(f"{picture.width}x{picture.height} pixels")
            picture.load()
            return picture
    except Image.DecompressionBombError as fault:
        raise Unusable(Finding(name, "too-large", f"it is larger than PIL opens ({fault})")) from fault
    except Exception as fault:  # PIL's decoders raise nearly anything on damaged bytes
        if isinstance(fault, Unusable | MemoryError):
            raise
        raise Unusable(_undecodable(data, fault, name)) from fault


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
