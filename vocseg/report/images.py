"""Image galleries of the page."""

import base64
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from vocseg.data import voc
from vocseg.data.classes import ClassList
from vocseg.data.image_io import read_image, read_mask
from vocseg.errors import UserError
from vocseg.metrics.aggregate import BACKGROUND
from vocseg.metrics.label_errors import CONFIDENT, LabelErrorData, prediction_path, regions_of
from vocseg.metrics.paired_test import ImageChange
from vocseg.metrics.per_image import PerImageConfusion
from vocseg.report.load_run import LoadedRun
from vocseg.visualization.draw import error_map
from vocseg.visualization.tables import percent, points, typographic

Bytes = npt.NDArray[np.uint8]
Card = dict[str, Any]  # id, headline, facts, pictures, size, chips and box of the template

SIDE = 400  # pixels of the longer side; VOC's images have 500
_IMAGE_QUALITY, _ERRORS_QUALITY = 68, 55
_CHIPS = 6  # classes below an image
_TITLES = {
    "worst": ("Worst images", "lowest mean IoU over the classes in the image"),
    "median": ("Median images", "mean IoU of a typical image"),
    "best": ("Best images", "highest mean IoU over the classes in the image"),
}
_LABEL_ERRORS = (
    "Connected regions with a predicted class other than the label, at a confidence of at least "
    f"{100 * CONFIDENT:.0f} %, the largest first, without regions along a border of "
    "that class. Either the label or the network is wrong."
)


class Gallery(NamedTuple):
    """Cards under a title."""

    title: str
    explanation: str
    cards: tuple[Card, ...]


class ImageMetrics(NamedTuple):
    """Mean IoU of an image over its classes, and its pixel accuracy."""

    id: str
    mean_iou: float
    accuracy: float


def ranked_images(scores: PerImageConfusion) -> list[ImageMetrics]:
    """Metrics of the images with labelled pixels, the worst first."""
    found = []
    for id, matrix in zip(scores.ids, scores.matrices, strict=True):
        hits, true, predicted = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
        if (there := true > 0).any():
            iou = hits[there] / (true + predicted - hits)[there]
            found.append(ImageMetrics(id, float(iou.mean()), float(hits.sum() / true.sum())))
    return sorted(found, key=lambda each: (each.mean_iou, each.id))


def worst_median_best(ranked: Sequence[ImageMetrics], count: int) -> dict[str, Sequence[ImageMetrics]]:
    """At most `count` images of each kind, without repetition."""
    worst = ranked[:count]
    best = ranked[max(len(worst), len(ranked) - count) :][::-1]
    between = ranked[len(worst) : len(ranked) - len(best)]
    start = max(0, (len(between) - count) // 2)
    return {"worst": worst, "median": between[start : start + count], "best": best}


class ImageTriplet(NamedTuple):
    """Image RGB `[H,W,3]`, mask and prediction `[H,W]` at original resolution."""

    image: Bytes
    truth: Bytes
    prediction: Bytes


class RunImages:
    """Images, masks and predictions of a run.

    Args:
        data: Label-error data of the run.
        folder: Folder of the run.
        root: Current folder of the data; None: as recorded.

    Attributes:
        missing: Reason for each image that cannot be shown, by id.

    Raises:
        UserError: If `root` holds no data set.
    """

    def __init__(self, data: LabelErrorData, folder: Path, root: Path | None) -> None:
        origin = data.origin
        self._folder, self._split = folder, origin.split
        self.classes = ClassList(origin.names, origin.colours, origin.values, origin.void, origin.coloured)
        found = Path(origin.folder) if root is None else voc.find_set(root, origin.image_folder)
        if found is None:
            raise UserError(f"--root {root}: no data set below it. Pass the folder that --data.root was.")
        names = origin.image_folder, origin.image_suffix, origin.mask_folder, origin.mask_suffix
        self._layout = voc.Layout(found, *names)
        self.missing: dict[str, str] = {}

    def triplet(self, id: str) -> ImageTriplet | None:
        """An image with its mask and prediction; None, with a reason in `missing`, if a file is not valid."""
        try:
            image = read_image(self._layout.image(id))
            mask = read_mask(self._layout.mask(id, self._split), self.classes)
            with Image.open(prediction_path(self._folder, id)) as file:
                prediction = np.asarray(file, np.uint8)
            if not image.shape[:2] == mask.shape == prediction.shape:
                raise ValueError(f"{id}: image, mask and prediction have different sizes")
            return ImageTriplet(image, self.classes.table[mask], prediction)
        except (UserError, OSError, ValueError, SyntaxError) as error:
            self.missing[id] = str(error)
            return None


def galleries_of(run: LoadedRun, images: RunImages | None, count: int) -> list[Gallery]:
    """The worst, median and best images."""
    if run.images is None or not count:
        return []
    chosen = worst_median_best(ranked_images(run.images), count)
    with ThreadPoolExecutor() as pool:  # encoding releases the interpreter lock
        return [
            Gallery(*_TITLES[key], tuple(pool.map(lambda each: _card(each, images), found)))
            for key, found in chosen.items()
            if found
        ]


def _card(metrics: ImageMetrics, images: RunImages | None) -> Card:
    fact = f"pixel accuracy {percent(metrics.accuracy)} %"
    return image_card(metrics.id, f"mIoU {percent(metrics.mean_iou)} %", fact, [("", images)])


def label_error_gallery(run: LoadedRun, images: RunImages | None, count: int) -> Gallery | None:
    """Images with the largest regions of confident disagreement; None without label-error data."""
    if run.label_errors is None or not count:
        return None
    pairs = zip(run.label_errors.ids, map(regions_of, run.label_errors.regions), strict=True)
    found = sorted(((id, each[0]) for id, each in pairs if each), key=lambda each: (-each[1].weight, each[0]))
    names, cards = run.label_errors.origin.names, []
    for id, region in found[:count]:
        headline = f"labelled {names[region.label]}, predicted {names[region.predicted]}"
        fact = f"{percent(region.share)} % of the image, mean confidence {percent(region.confidence)} %"
        left, top, right, bottom = (100 * each for each in region[4:])
        card = image_card(id, headline, fact, [("", images)])
        cards.append({**card, "box": (left, top, right - left, bottom - top)})
    return Gallery("Label-error candidates", _LABEL_ERRORS, tuple(cards))


def change_card(change: ImageChange, sides: Sequence[tuple[str, RunImages | None]]) -> Card:
    """A card of an image's change between two runs, with the predictions of both."""
    (first, _), (letter, _) = sides
    fact = f"mIoU of the image: {first} {percent(change.before)} %, {letter} {percent(change.after)} %"
    return image_card(change.id, f"{typographic(points(change.change))} points", fact, sides)


def image_card(id: str, headline: str, fact: str, sides: Sequence[tuple[str, RunImages | None]]) -> Card:
    """A card of an image with the predictions of one run, and their errors, or of several by name."""
    found = [(name, run, run.triplet(id)) for name, run in sides if run is not None]
    shown = [(name, run.classes, triplet) for name, run, triplet in found if triplet is not None]
    card: Card = {"id": id, "headline": headline, "fact": fact, "pictures": {}, "chips": [], "box": None}
    if not shown:
        return card
    _, classes, first = shown[0]
    pictures = {
        "input": _webp(_small(first.image), _IMAGE_QUALITY),
        "ground truth": _mask(first.truth, classes),
    }
    for name, own, triplet in shown:
        pictures[f"prediction of {name}" if name else "prediction"] = _mask(triplet.prediction, own)
    if len(sides) == 1:
        masks = (_small(each, cv2.INTER_NEAREST_EXACT) for each in first[1:])
        pictures["errors"] = _webp(error_map(_small(first.image), *masks), _ERRORS_QUALITY)
    height, width = first.truth.shape
    return {**card, "pictures": pictures, "width": width, "height": height, "chips": _chips(first, classes)}


def _mask(mask: Bytes, classes: ClassList) -> str:
    """A mask `[H,W]` in the classes' colours as a data URI."""
    image = Image.fromarray(_small(mask, cv2.INTER_NEAREST_EXACT))
    image.putpalette([channel for colour in classes.palette for channel in colour])
    return _uri(image, "png")


def _small(pixels: Bytes, method: int = cv2.INTER_AREA) -> Bytes:
    height, width = pixels.shape[:2]
    scale = SIDE / max(height, width)
    if scale >= 1:
        return pixels
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(pixels, size, interpolation=method), np.uint8)


def _uri(image: Image.Image, kind: str, **options: int) -> str:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def _webp(pixels: Bytes, quality: int) -> str:
    return _uri(Image.fromarray(pixels), "webp", quality=quality, method=3)


def _chips(triplet: ImageTriplet, classes: ClassList) -> list[tuple[str, str]]:
    """Names and colours of the largest classes in mask or prediction, without the background."""
    counts = np.bincount(triplet.truth.ravel(), minlength=256)
    counts = np.maximum(counts, np.bincount(triplet.prediction.ravel(), minlength=256))[: len(classes)]
    counts[0] *= classes.names[0].casefold() != BACKGROUND
    largest = [k for k in np.argsort(-counts, kind="stable")[:_CHIPS].tolist() if counts[k]]
    return [(classes.names[k], css(classes.palette[k])) for k in largest]


def css(colour: Sequence[int]) -> str:
    """`#rrggbb`."""
    return "#" + "".join(f"{int(channel):02x}" for channel in colour)
