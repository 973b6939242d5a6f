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

CONFIDENT = 0.9  # the network's probability for its class, from which it counts as sure
REGIONS = 3  # kept of an image
COLUMNS = 8  # of a region
_SMALLEST = 1e-3  # of the picture; less is no region but a frayed border
_KERNEL = np.ones((3, 3), np.uint8)


class DisagreementRegion(NamedTuple):
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
        float32 `[REGIONS, COLUMNS]`, a `DisagreementRegion` a row, the largest first, then zeros.
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


def _regions(
    where: npt.NDArray[np.bool_], confidence: Floats, label: int, predicted: int
) -> list[DisagreementRegion]:
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
            regions.append(DisagreementRegion(area / where.size, mean, label, predicted, *box))
    return regions


def regions_of(rows: Floats) -> list[DisagreementRegion]:
    """What `disagreement` gave, without the empty rows."""
    plain = [row.tolist() for row in rows if row[0] > 0]
    return [DisagreementRegion(row[0], row[1], round(row[2]), round(row[3]), *row[4:]) for row in plain]


FILE = "evidence.npz"
FOLDER = "predictions"
FORMAT = 1


@dataclass(frozen=True)
class DataLocation:
    """Where photographs and masks lie, and what the masks' values mean.

    Attributes:
        root: What the user gave as --data.root.
        folder: The one called `VOC2012` in it, from the root of the file system.
        image_folder: Of the photographs, within `folder`.
        image_suffix: Ending of their names; None: any.
        split: The list that was scored.
        names: Of the classes.
        colours: Of the classes, RGB.
        values: The values of each class in a mask file.
        void: Further values that are ignored.
        coloured: Whether masks may be RGB pictures in these colours.
        mask_folder: Of the masks, within `folder`; None: VOC's.
        mask_suffix: What follows an image's id in the name of its mask.
    """

    root: str
    folder: str
    image_folder: str
    image_suffix: str | None
    split: str
    names: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]
    values: tuple[tuple[int, ...], ...]
    void: tuple[int, ...]
    coloured: bool = False
    mask_folder: str | None = None
    mask_suffix: str = ".png"


@dataclass(frozen=True, eq=False)
class LabelErrorData:
    """The images that were scored and where the network was sure of another class than the label.

    Their predictions are pictures beside it: `prediction_path`.

    Attributes:
        ids: Of the N images.
        regions: float32 `[N,R,8]`: see `vocseg.metrics.label_errors`.
        origin: Where they come from.
    """

    ids: tuple[str, ...]
    regions: npt.NDArray[np.float32]
    origin: DataLocation

    def save(self, folder: Path) -> None:
        """Write `evidence.npz`, whole or not at all."""
        facts = json.dumps({"format": FORMAT, "ids": self.ids, "origin": asdict(self.origin)})
        with atomic_open(folder / FILE) as file:
            np.savez_compressed(file, allow_pickle=False, facts=np.array(facts), regions=self.regions)


def prediction_path(folder: Path, id: str) -> Path:
    """The picture of an image's predicted classes in a run's folder; an id never leads out of it."""
    return folder / FOLDER / f"{id.replace('%', '%25').replace('/', '%2F')}.png"


def load_evidence(folder: Path) -> LabelErrorData | None:
    """Read what `LabelErrorData.save` wrote; None if the run left none.

    Raises:
        UserError: If the file is damaged, or of a newer version.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as archive:
            regions, facts = np.asarray(archive["regions"], np.float32), json.loads(str(archive["facts"]))
        if facts["format"] > FORMAT:
            raise UserError(f"{path} was made by a newer vocseg: update vocseg")
        ids, origin = tuple(facts["ids"]), _origin(facts["origin"])
        if regions.ndim != 3 or len(regions) != len(ids):
            raise ValueError
        return LabelErrorData(ids, regions, origin)
    except UserError:
        raise
    except Exception as fault:  # numpy, zip and zlib raise nearly anything on foreign or damaged bytes
        raise UserError(f"{path} is damaged: score the weights again with `test`") from fault


def _origin(plain: dict[str, Any]) -> DataLocation:
    tuples = {key: tuple(plain[key]) for key in ("names", "void")}
    tuples |= {key: tuple(tuple(each) for each in plain[key]) for key in ("colours", "values")}
    return DataLocation(**(plain | tuples))
