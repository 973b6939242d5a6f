"""Checks of images."""

from pathlib import Path

import cv2
import numpy as np
from PIL import ExifTags

from vocseg.data.audit.checks_files import open_decoded
from vocseg.data.audit.findings import FileRecord, Finding, UnreadableFile, size_text
from vocseg.data.fingerprint import FileContent

THUMBNAIL = 64  # pixels each way
_LEAST = 32  # pixels; the encoder reduces 32x32 to one
_STORED_AS = {
    "CMYK": ("image-cmyk", "stored as CMYK, which programs convert to RGB in different ways: save it as RGB"),
    "L": ("image-greyscale", "stored as greyscale; read as three equal channels"),
    "P": ("image-palette", "stored with a palette; read as RGB"),
    "RGBA": ("image-alpha", "has an alpha channel, which is not read"),
}


def check_image(path: Path, name: str) -> FileRecord:
    """Read and check an image.

    Args:
        path: The file.
        name: Path within the `VOC2012` folder.
    """
    try:
        opened = open_decoded(path, name)
    except UnreadableFile as error:
        return FileRecord(name, (error.finding,))
    image, findings = opened.image, list(opened.findings)
    if image.mode != "RGB" and image.mode not in _STORED_AS:
        text = f"mode {image.mode}: save it as RGB with 8 bits per channel"
        return FileRecord(name, (*findings, Finding(name, "image-mode", text)), image.size)
    if image.mode in _STORED_AS:
        findings.append(Finding(name, *_STORED_AS[image.mode]))
    pixels = np.asarray(image.convert("RGB"))  # H,W,3
    height, width = pixels.shape[:2]
    if min(height, width) < _LEAST:
        findings.append(Finding(name, "image-tiny", f"{width}x{height} pixels, perhaps a thumbnail"))
    if (pixels[0] == pixels[0, 0]).all() and (pixels == pixels[0, 0]).all():  # the first row is quick
        findings.append(Finding(name, "image-blank", f"every pixel is {tuple(pixels[0, 0].tolist())}"))
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    thumbnail = cv2.resize(grey, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    return FileRecord(
        name,
        tuple(findings),
        image.size,
        FileContent.of(opened.status, opened.data, pixels),
        orientation if orientation in range(1, 9) else 1,
        np.asarray(thumbnail, np.uint8),
    )


def compare_pair(image: FileRecord, mask: FileRecord | None) -> list[Finding]:
    """Compare the sizes of an image, as stored and as EXIF orientation rotates it, and of its mask.

    Args:
        image: The image.
        mask: Its mask; None: missing.
    """
    stored, masked = image.size, mask.size if mask else None
    if stored is None:
        return []
    turned = stored[::-1] if image.orientation >= 5 else stored  # 5..8 rotate by 90 degrees
    if image.orientation > 1:
        sizes = f"{size_text(stored)} as stored, {size_text(turned)} rotated"
        text = f"EXIF orientation {image.orientation}: {sizes}; {_fit(stored, turned, masked)}"
        return [Finding(image.name, "image-rotated", text)]
    if mask is None or masked is None or masked == stored:
        return []
    text = f"{size_text(masked)} pixels, but {image.name} is {size_text(stored)}"
    rotated = ", as if rotated by 90 degrees" if masked == stored[::-1] else ""
    return [Finding(mask.name, "size-mismatch", text + rotated)]


def _fit(stored: tuple[int, int], turned: tuple[int, int], masked: tuple[int, int] | None) -> str:
    if masked is None:
        return "there is no mask to compare"
    if masked not in (stored, turned):
        return f"its mask, {size_text(masked)}, fits neither"
    if turned == stored:
        return f"its mask, {size_text(masked)}, fits both: remove the tag, or rotate image and mask"
    if masked == stored:
        return f"its mask, {size_text(masked)}, fits the stored one: remove the tag"
    return f"its mask, {size_text(masked)}, fits the rotated one: save the image rotated"
