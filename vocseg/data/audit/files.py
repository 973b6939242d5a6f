"""Checks of images and masks.

A JPEG has no checksum, and most corrupt ones decode without an error; detected are invalid markers, runs of
zeros and a missing end. Every chunk of a PNG has a checksum.
Sources: ITU-T T.81 annex B; PNG (W3C) chapter 5.
"""

import io
import re
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from vocseg.data.audit.findings import FileRecord, Finding
from vocseg.data.classes import ClassList
from vocseg.data.fingerprint import FileContent
from vocseg.data.image_io import (
    Bytes,
    colour_codes,
    decode_image,
    decode_mask_image,
    exif_orientation,
    mask_values,
    read_bytes,
)
from vocseg.errors import UserError

THUMBNAIL = 64  # pixels each way

_SCAN_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # in coded data, 00 escapes an FF, and D0..D7 restart
_BARE = {0x01, *range(0xD0, 0xD9)}  # markers without a payload
_END, _SCAN = 0xD9, 0xDA
_HOLE = bytes(2048)  # a lost disk block; coded data has no such run of zeros


def damage(data: bytes) -> str | None:
    """Return the corruption of a JPEG or PNG that decoders pass over; None: none found, or another format."""
    if data.startswith(b"\xff\xd8"):
        return _jpeg_damage(data)
    if data.startswith(b"\x89PNG"):
        try:
            with Image.open(io.BytesIO(data)) as image:
                image.verify()
        except Exception as error:  # PIL raises nearly anything on corrupt bytes
            return " ".join(str(error).split()) or type(error).__name__
    return None


def _jpeg_damage(data: bytes) -> str | None:
    position = 2
    while position + 1 < len(data):
        marker = data[position + 1]
        if data[position] != 0xFF or (marker < 0xC0 and marker not in _BARE):
            return f"it is corrupt at byte {position:,}"
        if marker == _END:
            return None
        position += 1 if marker == 0xFF else 2  # FF: a fill byte
        if marker in _BARE or marker == 0xFF:
            continue
        position += int.from_bytes(data[position : position + 2], "big")
        if marker == _SCAN:
            end = _SCAN_END.search(data, position)
            stop = end.start() if end else len(data)
            hole = data.find(_HOLE, position, stop)
            if hole >= 0:
                return f"it has a run of zeros at byte {hole:,}"
            position = stop
    return "its end is missing"


def check_image(path: Path, name: str) -> FileRecord:
    """Read and check an image; `name` is its path within the `VOC2012` folder."""
    try:
        data, status = read_bytes(path, "image")
        pixels = decode_image(data, path)
    except UserError as error:
        return _unreadable(error, path, name)
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    thumbnail = cv2.resize(grey, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    return FileRecord(
        name,
        _damage(data, name),
        pixels.shape[1::-1],
        FileContent.of(status, data, pixels),
        exif_orientation(data),
        np.asarray(thumbnail, np.uint8),
    )


def check_mask(path: Path, name: str, classes: ClassList) -> FileRecord:
    """Read and check a mask; `name` is its path within the `VOC2012` folder."""
    try:
        data, status = read_bytes(path, "mask")
        pixels = decode_mask_image(data, path, classes)
    except UserError as error:
        return _unreadable(error, path, name)
    size = pixels.shape[1::-1]
    findings = _damage(data, name)
    if pixels.ndim == 2 and _is_permuted(data, pixels, classes):
        text = "its colours are those of other classes than its indices: save it as RGB, or with the indices"
        findings = (*findings, Finding(name, "mask-palette", text))
    try:
        values = mask_values(pixels, path, classes)
    except UserError as error:
        return _unreadable(error, path, name, "mask-values", size)
    content = FileContent.of(status, data, pixels, mask=True)
    counts = np.bincount(values.ravel(), minlength=256)
    return FileRecord(name, findings, size, content, counts=counts)


def _unreadable(
    error: UserError, path: Path, name: str, kind: str = "unreadable", size: tuple[int, int] | None = None
) -> FileRecord:
    """Record of a file that training refuses, with its sentence."""
    text = error.sentence
    for what in ("the image ", "the mask "):
        text = text.removeprefix(f"{what}{path} ")
    return FileRecord(name, (Finding(name, kind, text),), size)


def _damage(data: bytes, name: str) -> tuple[Finding, ...]:
    text = damage(data)
    return (Finding(name, "damaged", f"{text}: restore it from the archive"),) if text else ()


def _is_permuted(data: bytes, pixels: Bytes, classes: ClassList) -> bool:
    """Return whether a palette has the classes' colours at other indices, which are wrong labels."""
    with Image.open(io.BytesIO(data)) as image:
        palette = np.array(image.getpalette() or [], np.uint8).reshape(-1, 3)
    used = np.flatnonzero(np.bincount(pixels.ravel()))
    if not classes.coloured or used[-1] >= len(palette):
        return False
    colours, values = classes.by_colour
    codes = colour_codes(palette[used])
    where = np.searchsorted(colours, codes).clip(max=len(colours) - 1)
    found: npt.NDArray[np.bool_] = colours[where] == codes
    return bool(found.all() and (values[where] != used).any())


def compare_pair(image: FileRecord, mask: FileRecord | None) -> list[Finding]:
    """Compare the sizes of an image, as stored and as its EXIF orientation rotates it, and of its mask."""
    stored, masked = image.size, mask.size if mask else None
    if stored is None:
        return []
    size = "{}x{}".format
    if image.orientation > 1:
        rotated = stored[::-1] if image.orientation >= 5 else stored  # 5..8 rotate by 90 degrees
        fits = f"its mask is {size(*masked)}" if masked else "it has no mask"
        text = (
            f"EXIF orientation {image.orientation}: {size(*stored)} as stored, {size(*rotated)} rotated; "
            f"{fits}: remove the tag if the mask fits the stored image, else save the image rotated"
        )
        return [Finding(image.name, "image-rotated", text)]
    if mask is None or masked in (None, stored):
        return []
    assert masked is not None
    text = f"{size(*masked)} pixels, but {image.name} is {size(*stored)}: make the mask again"
    return [Finding(mask.name, "size-mismatch", text)]
