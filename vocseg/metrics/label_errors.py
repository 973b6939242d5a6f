"""Candidates for label errors."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from vocseg.constants import IGNORE_INDEX
from vocseg.errors import UserError
from vocseg.utils.atomic_write import atomic_open

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

CONFIDENT = 0.9  # least probability of the predicted class
REGIONS = 3  # saved of an image
COLUMNS = 8  # of a region
_SMALLEST = 1e-3  # of the image's pixels; smaller regions are inexact borders
_BORDER = 0.025  # of the longer side, at least 3 pixels: a border is exact to this
_KERNEL = np.ones((3, 3), np.uint8)


class DisagreementRegion(NamedTuple):
    """A connected region of one label in which the network is confident of one other class."""

    share: float  # fraction of the image's pixels
    confidence: float  # mean probability of the predicted class
    label: int  # class of the mask
    predicted: int  # predicted class
    left: float  # left side of the bounding box, as a fraction of the width
    top: float  # top side, as a fraction of the height
    right: float  # right side
    bottom: float  # bottom side

    @property
    def weight(self) -> float:
        """Rank of the region: area times confidence."""
        return self.share * self.confidence


def disagreement(confidence: Floats, predicted: Bytes, truth: Bytes) -> Floats:
    """The largest regions of confident disagreement in an image.

    A region of which every pixel is near the label of its predicted class is left out: there the border is
    inexact, not the label. Near is 2.5 % of the longer side, at least 3 pixels of the output.

    Args:
        confidence: Probability of the predicted class, float32 `[h,w]`, at the network's output resolution.
        predicted: Predicted class, uint8 `[h,w]`.
        truth: Mask, uint8 `[H,W]`, 255 ignored.

    Returns:
        float32 `[REGIONS, COLUMNS]`, a `DisagreementRegion` a row, the largest first, then zeros.
    """
    size = confidence.shape[::-1]
    label = np.asarray(cv2.resize(truth, size, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
    confident = (confidence >= CONFIDENT) & (predicted != label) & (label != IGNORE_INDEX)
    pair = np.where(confident, label.astype(np.int32) * 256 + predicted + 1, 0)
    kinds, pixels = np.unique(pair, return_counts=True)
    found = [
        region
        for kind, count in zip(kinds.tolist(), pixels.tolist(), strict=True)
        if kind and count >= _SMALLEST * pair.size
        for region in _regions(pair == kind, confidence, label, *divmod(kind - 1, 256))
    ]
    rows = np.zeros((REGIONS, COLUMNS), np.float32)
    for row, region in zip(rows, sorted(found, key=lambda each: -each.weight), strict=False):
        row[:] = region
    return rows


def _regions(
    where: npt.NDArray[np.bool_], confidence: Floats, mask: Bytes, label: int, predicted: int
) -> list[DisagreementRegion]:
    # Opening removes thin strips along an object's border.
    thick = cv2.morphologyEx(where.astype(np.uint8), cv2.MORPH_OPEN, _KERNEL)
    count, components, stats, _ = cv2.connectedComponentsWithStats(thick)
    height, width = where.shape
    distance = cv2.distanceTransform((mask != predicted).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    near = max(3.0, _BORDER * max(height, width))
    regions = []
    for k in range(1, count):
        x, y, w, h, area = (int(value) for value in stats[k])
        inside = components == k
        if area >= _SMALLEST * where.size and distance[inside].max() > near:
            mean = float(confidence[inside].mean())
            box = (x / width, y / height, (x + w) / width, (y + h) / height)
            regions.append(DisagreementRegion(area / where.size, mean, label, predicted, *box))
    return regions


def regions_of(rows: Floats) -> list[DisagreementRegion]:
    """Regions of `disagreement`, without its empty rows."""
    plain = [row.tolist() for row in rows if row[0] > 0]
    return [DisagreementRegion(row[0], row[1], round(row[2]), round(row[3]), *row[4:]) for row in plain]


FILE = "label_errors.npz"
FOLDER = "predictions"


@dataclass(frozen=True)
class DataLocation:
    """Location and encoding of a data set."""

    root: str  # value of --data.root
    folder: str  # absolute path of its `VOC2012` folder
    image_folder: str  # folder of the images, within `folder`
    image_suffix: str | None  # suffix of image files; None: any
    split: str  # name of the scored split
    names: tuple[str, ...]  # class names
    colours: tuple[tuple[int, int, int], ...]  # class colours, RGB
    values: tuple[tuple[int, ...], ...]  # values of each class in a mask file
    void: tuple[int, ...]  # further values that are ignored
    coloured: bool = False  # whether masks may be RGB images in these colours
    mask_folder: str | None = None  # folder of the masks, within `folder`; None: VOC's
    mask_suffix: str = ".png"  # suffix of mask files


@dataclass(frozen=True, eq=False)
class LabelErrorData:
    """Regions of confident disagreement in the images of a split."""

    ids: tuple[str, ...]  # ids of the N images
    regions: npt.NDArray[np.float32]  # float32 `[N,REGIONS,COLUMNS]`, see `disagreement`
    origin: DataLocation  # location of the data set

    def save(self, folder: Path) -> None:
        """Write `label_errors.npz` atomically."""
        facts = json.dumps({"ids": self.ids, "origin": asdict(self.origin)})
        with atomic_open(folder / FILE) as file:
            np.savez_compressed(file, allow_pickle=False, facts=np.array(facts), regions=self.regions)


def prediction_path(folder: Path, id: str) -> Path:
    """Path of the predicted mask of an image, always within the run's folder."""
    return folder / FOLDER / f"{id.replace('%', '%25').replace('/', '%2F')}.png"


def load_evidence(folder: Path) -> LabelErrorData | None:
    """Read the label-error data of a run; None if it has none.

    Raises:
        UserError: If the file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as archive:
            regions, facts = np.asarray(archive["regions"], np.float32), json.loads(str(archive["facts"]))
        return LabelErrorData(tuple(facts["ids"]), regions, _origin(facts["origin"]))
    except Exception as error:  # numpy and zlib raise almost any exception on damaged bytes
        raise UserError(f"{path} is damaged. Score the weights again with `test`.") from error


def _origin(plain: dict[str, Any]) -> DataLocation:
    tuples = {key: tuple(plain[key]) for key in ("names", "void")}
    tuples |= {key: tuple(tuple(each) for each in plain[key]) for key in ("colours", "values")}
    return DataLocation(**(plain | tuples))
