"""Where a network is sure of another class than the label: a wrong label, or a blind spot of the network."""

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from vocseg.voc import IGNORE_INDEX

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

CONFIDENT = 0.9  # the network's probability for its class, from which it counts as sure
REGIONS = 3  # kept of an image
COLUMNS = 8  # of a region
_SMALLEST = 1e-3  # of the picture; less is no region but a frayed border
_KERNEL = np.ones((3, 3), np.uint8)


class Region(NamedTuple):
    """A connected region in which one label stands and the network is sure of one other class.

    Attributes:
        share: Of the picture's pixels.
        confidence: The network's probability for its class, the mean over the region.
        label: The class of the mask.
        predicted: The class of the network.
        left: Of its box, as a share of the picture's width; the next are meant alike.
        top: Of its box.
        right: Of its box.
        bottom: Of its box.
    """

    share: float
    confidence: float
    label: int
    predicted: int
    left: float
    top: float
    right: float
    bottom: float

    @property
    def weight(self) -> float:
        """By which regions are ranked: large ones first, of equal ones those that it is surest of."""
        return self.share * self.confidence


def disagreement(confidence: Floats, predicted: Bytes, truth: Bytes) -> Floats:
    """The largest regions of sure disagreement in one picture.

    Args:
        confidence: Highest probability of each pixel, float32 `[h,w]`, at whatever size the network has.
        predicted: Its class, uint8 `[h,w]`.
        truth: The mask, uint8 `[H,W]`; void counts nowhere.

    Returns:
        float32 `[REGIONS, COLUMNS]`, each row a `Region`, the largest first; zeros where there is none.
    """
    size = confidence.shape[::-1]
    label = np.asarray(cv2.resize(truth, size, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
    sure = (confidence >= CONFIDENT) & (predicted != label) & (label != IGNORE_INDEX)
    pair = np.where(sure, label.astype(np.int32) * 256 + predicted + 1, 0)
    kinds, pixels = np.unique(pair, return_counts=True)
    found = [
        region
        for kind, count in zip(kinds.tolist(), pixels.tolist(), strict=True)
        if kind and count >= _SMALLEST * pair.size
        for region in _regions(pair == kind, confidence, *divmod(kind - 1, 256))
    ]
    rows = np.zeros((REGIONS, COLUMNS), np.float32)
    for row, region in zip(rows, sorted(found, key=lambda each: -each.weight), strict=False):
        row[:] = region
    return rows


def _regions(where: npt.NDArray[np.bool_], confidence: Floats, label: int, predicted: int) -> list[Region]:
    """Connected regions once thin strips are gone, as those along an object's border."""
    thick = cv2.morphologyEx(where.astype(np.uint8), cv2.MORPH_OPEN, _KERNEL)
    count, places, facts, _ = cv2.connectedComponentsWithStats(thick)
    height, width = where.shape
    regions = []
    for k in range(1, count):
        x, y, w, h, area = (int(value) for value in facts[k])
        if area >= _SMALLEST * where.size:
            mean = float(confidence[places == k].mean())
            box = (x / width, y / height, (x + w) / width, (y + h) / height)
            regions.append(Region(area / where.size, mean, label, predicted, *box))
    return regions


def regions_of(rows: Floats) -> list[Region]:
    """What `disagreement` gave, without the empty rows."""
    plain = [row.tolist() for row in rows if row[0] > 0]
    return [Region(row[0], row[1], round(row[2]), round(row[3]), *row[4:]) for row in plain]
