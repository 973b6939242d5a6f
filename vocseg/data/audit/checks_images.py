"""Checks of images, and near duplicates."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import ExifTags

from vocseg.data.audit.checks_files import open_decoded
from vocseg.data.audit.checks_lists import SplitList
from vocseg.data.audit.findings import FileRecord, Finding, UnreadableFile
from vocseg.data.fingerprint import FileContent
from vocseg.data.image_io import Bytes
from vocseg.errors import some

THUMBNAIL = 64  # pixels each way
_LEAST = 32  # pixels; the encoder reduces 32x32 to one
_STORED_AS = {
    "CMYK": ("image-cmyk", "stored as CMYK, which programs convert to RGB in different ways: save it as RGB"),
    "L": ("image-greyscale", "stored as greyscale; read as three equal channels"),
    "P": ("image-palette", "stored with a palette; read as RGB"),
    "RGBA": ("image-alpha", "has an alpha channel, which is not read"),
}


def check_image(path: Path, name: str) -> FileRecord:
    """Read and check an image; `name` is its path within the `VOC2012` folder."""
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
    """Compare the sizes of an image, as stored and as EXIF orientation rotates it, and of its mask if any."""
    stored, masked = image.size, mask.size if mask else None
    if stored is None:
        return []
    turned = stored[::-1] if image.orientation >= 5 else stored  # 5..8 rotate by 90 degrees
    if image.orientation > 1:
        sizes = f"{_text(stored)} as stored, {_text(turned)} rotated"
        text = f"EXIF orientation {image.orientation}: {sizes}; {_fit(stored, turned, masked)}"
        return [Finding(image.name, "image-rotated", text)]
    if mask is None or masked is None or masked == stored:
        return []
    text = f"{_text(masked)} pixels, but {image.name} is {_text(stored)}"
    rotated = ", as if rotated by 90 degrees" if masked == stored[::-1] else ""
    return [Finding(mask.name, "size-mismatch", text + rotated)]


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _fit(stored: tuple[int, int], turned: tuple[int, int], masked: tuple[int, int] | None) -> str:
    if masked is None:
        return "there is no mask to compare"
    if masked not in (stored, turned):
        return f"its mask, {_text(masked)}, fits neither"
    if turned == stored:
        return f"its mask, {_text(masked)}, fits both: remove the tag, or rotate image and mask"
    if masked == stored:
        return f"its mask, {_text(masked)}, fits the stored one: remove the tag"
    return f"its mask, {_text(masked)}, fits the rotated one: save the image rotated"


_Floats = npt.NDArray[np.float32]

# Correlation thresholds. 2.2 million pairs of different VOC images: coarse > 0.92 implies fine < 0.31.
# 2,400 altered copies (scaled, JPEG quality 30, brightness, greyscale, mirrored): coarse 0.94, fine 0.69 at
# least. A crop of a few percent may be missed.
_COARSE, _FINE = 0.92, 0.55
_ROWS = 1024  # of the correlation matrix at a time: 6 MB with 1,449 columns


def find_near_duplicates(lists: Sequence[SplitList], images: Mapping[str, FileRecord]) -> list[Finding]:
    """Find copies and near-duplicates within and across training and evaluation splits.

    `images` are the records by id.
    """
    trained = {id: each.split for each in lists if each.trains for id in reversed(each.ids)}
    scored = {id: each.split for each in lists if each.scores for id in reversed(each.ids)}
    both = trained.keys() & scored.keys()  # reported as list-overlap
    found = _copies(trained, scored, images)
    pairs = _near(
        [images[id] for id in sorted(trained.keys() - both) if id in images],
        [images[id] for id in sorted(scored.keys() - both) if id in images],
    )
    shown: dict[str, list[str]] = defaultdict(list)
    for one, two, mirrored in pairs:
        shown[two.name].append(one.name + " (mirrored)" * mirrored)
    for name, others in shown.items():
        text = f"in an evaluation split, but near-duplicate of training image {some(others)}: keep one"
        found.append(Finding(name, "near-copy-across", text))
    return found


def _copies(
    trained: Mapping[str, str], scored: Mapping[str, str], images: Mapping[str, FileRecord]
) -> list[Finding]:
    groups: dict[str, list[str]] = defaultdict(list)
    for id in sorted(trained.keys() | scored.keys()):
        if id in images and (content := images[id].content) is not None:
            groups[content.pixels].append(id)
    found = []
    for ids in (ids for ids in groups.values() if len(ids) > 1):
        across = any(id in trained for id in ids) and any(id in scored for id in ids)
        splits = {id: trained.get(id) or scored[id] for id in ids}
        last = next((id for id in reversed(ids) if id in scored), ids[-1]) if across else ids[-1]
        others = [f"{images[id].name} ({splits[id]})" for id in ids if id != last]
        text = f"identical pixels ({splits[last]}): {some(others)}: keep one"
        found.append(Finding(images[last].name, "copy-across" if across else "copy", text))
    return found


def _near(
    trained: Sequence[FileRecord], scored: Sequence[FileRecord]
) -> Iterator[tuple[FileRecord, FileRecord, bool]]:
    """Near-duplicate pairs across the two, and whether mirrored; without exact copies."""
    trained, scored = ([each for each in group if each.thumbnail is not None] for group in (trained, scored))
    if not trained or not scored:
        return
    first, second = (  # [N,64,64]
        np.stack([each.thumbnail for each in group if each.thumbnail is not None])
        for group in (trained, scored)
    )
    for mirrored in (False, True):
        for row, column in _alike(first, second[:, :, ::-1] if mirrored else second):
            one, two = trained[row].content, scored[column].content
            if one is None or two is None or one.pixels != two.pixels:
                yield trained[row], scored[column], mirrored


def _alike(first: Bytes, second: Bytes) -> Iterator[tuple[int, int]]:
    """Pairs with correlated coarse brightness and fine detail: matrix products of all pairs."""
    left, right = _coarse(first), _coarse(second)
    for start in range(0, len(left), _ROWS):
        pairs = left[start : start + _ROWS] @ right.T > _COARSE
        if not pairs.any():
            continue
        rows, columns = np.flatnonzero(pairs.any(1)), np.flatnonzero(pairs.any(0))
        detail = _fine(first[start + rows]) @ _fine(second[columns]).T > _FINE
        for row, column in np.argwhere(detail & pairs[np.ix_(rows, columns)]).tolist():
            yield start + int(rows[row]), int(columns[column])


def _coarse(thumbnails: Bytes) -> _Floats:
    """`[N,256]`: normalised mean brightness of 16x16 cells."""
    size, step = THUMBNAIL // 16, len(thumbnails)
    return _unit(thumbnails.astype(np.float32).reshape(step, 16, size, 16, size).mean((2, 4)))


def _fine(thumbnails: Bytes) -> _Floats:
    """`[N,4096]`: normalised high-pass image."""
    plain = thumbnails.astype(np.float32)
    return _unit(plain - np.stack([cv2.GaussianBlur(each, (0, 0), 3) for each in plain]))


def _unit(images: _Floats) -> _Floats:
    flat = images.reshape(len(images), -1)
    flat = flat - flat.mean(1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    # 1e-3: an image of one colour correlates with none
    return np.asarray(flat / np.maximum(length, 1e-3), np.float32)
