"""Checks of images."""

from pathlib import Path

import cv2
import numpy as np
from PIL import ExifTags

from vocseg.data.audit.checks_files import DecodedFile, open_whole
from vocseg.data.audit.file_record import Bytes, FileRecord, size_text
from vocseg.data.audit.findings import Finding, UnreadableFile
from vocseg.data.fingerprint import FileContent

THUMBNAIL = 64  # pixels each way
_LEAST = 32  # pixels: what the encoder reduces to one
_STORED_AS = {
    "CMYK": ("image-cmyk", "it has printing colours (CMYK), which readers turn into RGB in different ways"),
    "L": ("image-greyscale", "it is stored in grey; it is read as three equal channels"),
    "P": ("image-palette", "it is stored with a palette; it is read as RGB"),
    "RGBA": ("image-alpha", "it has an alpha channel, which is not read"),
}


def see_photograph(path: Path, name: str) -> FileRecord:
    """Read a photograph once and examine it.

    Args:
        path: The file.
        name: Its path within the `VOC2012` folder.
    """
    try:
        opened = open_whole(path, name)
    except UnreadableFile as fault:
        return FileRecord(name, (fault.finding,))
    picture, findings = opened.picture, list(opened.findings)
    if picture.mode != "RGB" and picture.mode not in _STORED_AS:
        text = f"it has mode {picture.mode}: save it with 8 bits a channel (RGB)"
        return FileRecord(name, (*findings, Finding(name, "image-mode", text)), picture.size)
    if picture.mode in _STORED_AS:
        findings.append(Finding(name, *_STORED_AS[picture.mode]))
    pixels = np.asarray(picture.convert("RGB"))  # H,W,3
    findings += _look(pixels, name)
    return FileRecord(
        name,
        tuple(findings),
        picture.size,
        FileContent.of(opened.status, opened.data, pixels),
        _orientation(opened),
        _thumbnail(pixels),
    )


def _look(pixels: Bytes, name: str) -> list[Finding]:
    height, width = pixels.shape[:2]
    found = []
    if min(height, width) < _LEAST:
        found.append(Finding(name, "image-tiny", f"it is {width}x{height} pixels, perhaps a thumbnail"))
    if (pixels[0] == pixels[0, 0]).all() and (pixels == pixels[0, 0]).all():  # the first row is quick
        found.append(Finding(name, "image-blank", f"every pixel is {tuple(pixels[0, 0].tolist())}"))
    return found


def _orientation(opened: DecodedFile) -> int:
    value = opened.picture.getexif().get(ExifTags.Base.Orientation, 1)
    return value if value in range(1, 9) else 1


def _thumbnail(pixels: Bytes) -> Bytes:
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.resize(grey, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA), np.uint8)


def compare_pair(image: FileRecord, mask: FileRecord | None) -> list[Finding]:
    """What is wrong between a photograph and its mask: their sizes, as stored and as the camera says.

    Args:
        image: The photograph.
        mask: None where there is none.
    """
    stored, masked = image.size, mask.size if mask else None
    if stored is None:
        return []
    turned = stored[::-1] if image.orientation >= 5 else stored  # 5..8 turn by a quarter
    if image.orientation > 1:
        sizes = f"{size_text(stored)} as stored, {size_text(turned)} turned"
        text = f"EXIF orientation {image.orientation}: {sizes}; {_fit(stored, turned, masked)}"
        return [Finding(image.name, "image-rotated", text)]
    if mask is None or masked is None or masked == stored:
        return []
    text = f"it is {size_text(masked)} pixels, but {image.name} is {size_text(stored)}"
    lying = ", as if turned by a quarter" if masked == stored[::-1] else ""
    return [Finding(mask.name, "size-mismatch", text + lying)]


def _fit(stored: tuple[int, int], turned: tuple[int, int], masked: tuple[int, int] | None) -> str:
    if masked is None:
        return "there is no mask to compare with"
    if masked not in (stored, turned):
        return f"its mask, {size_text(masked)}, fits neither"
    if turned == stored:
        return f"its mask, {size_text(masked)}, fits both: remove the tag, or turn image and mask"
    if masked == stored:
        return f"its mask, {size_text(masked)}, fits the stored one: remove the tag"
    return f"its mask, {size_text(masked)}, fits the turned one: save the image turned"
