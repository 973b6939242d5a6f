"""Duplicates of training images in evaluation splits."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from vocseg.data.audit.files import THUMBNAIL
from vocseg.data.audit.findings import FileRecord, Finding
from vocseg.data.audit.lists import scores, trains
from vocseg.data.image_io import Bytes
from vocseg.data.splits import Split
from vocseg.errors import some

_Floats = npt.NDArray[np.float32]

# Correlation thresholds. 2.2 million pairs of different VOC images: coarse > 0.92 implies fine < 0.31.
# 2,400 altered copies (scaled, JPEG quality 30, brightness, greyscale, mirrored): coarse 0.94, fine 0.69 at
# least. A crop of a few percent may be missed.
_COARSE, _FINE = 0.92, 0.55
_ROWS = 1024  # of the correlation matrix at a time: 6 MB with 1,449 columns


def find_duplicates(splits: Sequence[Split], images: Mapping[str, FileRecord]) -> list[Finding]:
    """Find images of evaluation splits that are copies of training images, perhaps altered or mirrored.

    `images` are the records by id.
    """
    trained = {id for split in splits if trains(split) for id in split.ids}
    scored = {id for split in splits if scores(split) for id in split.ids}
    both = trained & scored  # reported as list-overlap
    left, right = (
        [images[id] for id in sorted(ids - both) if id in images and images[id].thumbnail is not None]
        for ids in (trained, scored)
    )
    if not left or not right:
        return []
    first, second = (
        np.stack([each.thumbnail for each in group if each.thumbnail is not None]) for group in (left, right)
    )  # [N,64,64]
    copies: dict[str, list[str]] = defaultdict(list)
    for note, mirrored in (("", second), (" (mirrored)", second[:, :, ::-1])):
        for row, column in _alike(first, mirrored):
            copies[right[column].name].append(left[row].name + note)
    return [
        Finding(name, "duplicate", f"it is like the training image {some(others)}: keep one")
        for name, others in copies.items()
    ]


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
