"""Near-duplicate images within and across splits."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from vocseg.data.audit.checks_images import THUMBNAIL
from vocseg.data.audit.checks_lists import SplitList
from vocseg.data.audit.file_record import Bytes, FileRecord
from vocseg.data.audit.findings import Finding, some

_Floats = npt.NDArray[np.float32]

# Measured: of 2.2 million pairs of different VOC photographs (3,365 to train on, 336 to score on, as they are
# and mirrored), those above 0.92 in the first are below 0.31 in the second. Of 2,400 altered copies (half
# size, a third by nearest pixel, JPEG quality 30, light x0.6 and x1.25, grey, mirrored, several at once) none
# is below 0.94 in the first and 0.69 in the second. A crop of a few percent may be missed.
_COARSE, _FINE = 0.92, 0.55
_ROWS = 1024  # of the product of all pairs at a time: 6 MB with 1,449 columns


def find_near_duplicates(lists: Sequence[SplitList], images: Mapping[str, FileRecord]) -> list[Finding]:
    """Photographs that occur twice in the lists to train and to score on.

    Args:
        lists: Every list.
        images: What was seen of each listed id's photograph.
    """
    trained = {id: each.split for each in lists if each.trains for id in reversed(each.ids)}
    scored = {id: each.split for each in lists if each.scores for id in reversed(each.ids)}
    both = trained.keys() & scored.keys()  # a fault of the lists, which says so itself
    found = _copies(trained, scored, images)
    pairs = _near(
        [images[id] for id in sorted(trained.keys() - both) if id in images],
        [images[id] for id in sorted(scored.keys() - both) if id in images],
    )
    shown: dict[str, list[str]] = defaultdict(list)
    for one, two, mirrored in pairs:
        shown[two.name].append(one.name + " (mirrored)" * mirrored)
    return found + [_near_finding(name, others) for name, others in shown.items()]


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
        text = f"its pixels ({splits[last]}) are those of {some(others)}: keep one"
        found.append(Finding(images[last].name, "copy-across" if across else "copy", text))
    return found


def _near(
    trained: Sequence[FileRecord], scored: Sequence[FileRecord]
) -> Iterator[tuple[FileRecord, FileRecord, bool]]:
    """Pairs across the two that show one photograph, and whether mirrored; exact copies left out."""
    trained, scored = ([each for each in some if each.thumbnail is not None] for some in (trained, scored))
    if not trained or not scored:
        return
    first, second = _thumbnails(trained), _thumbnails(scored)
    for mirrored in (False, True):
        for row, column in _alike(first, second[:, :, ::-1] if mirrored else second):
            if not _same(trained[row], scored[column]):
                yield trained[row], scored[column], mirrored


def _alike(first: Bytes, second: Bytes) -> Iterator[tuple[int, int]]:
    """Pairs whose light goes together, and then whose detail does: matrix products of all with all."""
    left, right = _coarse(first), _coarse(second)
    for start in range(0, len(left), _ROWS):
        pairs = left[start : start + _ROWS] @ right.T > _COARSE
        if not pairs.any():
            continue
        rows, columns = np.flatnonzero(pairs.any(1)), np.flatnonzero(pairs.any(0))
        detail = _fine(first[start + rows]) @ _fine(second[columns]).T > _FINE
        for row, column in np.argwhere(detail & pairs[np.ix_(rows, columns)]).tolist():
            yield start + int(rows[row]), int(columns[column])


def _same(one: FileRecord, two: FileRecord) -> bool:
    return one.content is not None and two.content is not None and one.content.pixels == two.content.pixels


def _thumbnails(some: Sequence[FileRecord]) -> Bytes:
    return np.stack([each.thumbnail for each in some if each.thumbnail is not None])  # N,64,64


def _coarse(thumbnails: Bytes) -> _Floats:
    """`[N,256]`: the light in 16x16 fields, whatever the brightness and the contrast."""
    size, step = THUMBNAIL // 16, len(thumbnails)
    return _unit(thumbnails.astype(np.float32).reshape(step, 16, size, 16, size).mean((2, 4)))


def _fine(thumbnails: Bytes) -> _Floats:
    """`[N,4096]`: the detail that is left when soft light and large shapes are taken away."""
    plain = thumbnails.astype(np.float32)
    return _unit(plain - np.stack([cv2.GaussianBlur(each, (0, 0), 3) for each in plain]))


def _unit(pictures: _Floats) -> _Floats:
    flat = pictures.reshape(len(pictures), -1)
    flat = flat - flat.mean(1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.asarray(flat / np.maximum(length, 1e-3), np.float32)  # a picture of one colour is like none


def _near_finding(scored: str, trained: Sequence[str]) -> Finding:
    text = f"it is to score on, but shows what is in {some(trained)}, which is to train on: keep one"
    return Finding(scored, "near-copy-across", text)
