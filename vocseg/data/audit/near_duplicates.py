"""Near-duplicate images within and across splits."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from vocseg.data.audit.checks_images import THUMBNAIL
from vocseg.data.audit.checks_lists import SplitList
from vocseg.data.audit.findings import Bytes, FileRecord, Finding, some

_Floats = npt.NDArray[np.float32]

# Correlation thresholds. 2.2 million pairs of different VOC images: coarse > 0.92 implies fine < 0.31.
# 2,400 altered copies (scaled, JPEG quality 30, brightness, greyscale, mirrored): coarse 0.94, fine 0.69 at
# least. A crop of a few percent may be missed.
_COARSE, _FINE = 0.92, 0.55
_ROWS = 1024  # of the correlation matrix at a time: 6 MB with 1,449 columns


def find_near_duplicates(lists: Sequence[SplitList], images: Mapping[str, FileRecord]) -> list[Finding]:
    """Find copies and near-duplicates within and across training and evaluation splits.

    Args:
        lists: All splits.
        images: Records by id.
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
