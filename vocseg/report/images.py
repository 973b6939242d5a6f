"""Image galleries of the page."""

import base64
import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from vocseg.constants import IGNORE_INDEX
from vocseg.data import voc
from vocseg.data.classes import ClassList
from vocseg.data.image_io import read_image, read_mask
from vocseg.errors import UserError
from vocseg.metrics.aggregate import BACKGROUND
from vocseg.metrics.label_errors import (
    CONFIDENT,
    DisagreementRegion,
    LabelErrorData,
    prediction_path,
    regions_of,
)
from vocseg.metrics.per_image import Counts, PerImageConfusion
from vocseg.report.load_run import LoadedRun
from vocseg.visualization.draw import error_map
from vocseg.visualization.tables import percent

Bytes = npt.NDArray[np.uint8]

SIDE = 400  # pixels of the longer side; VOC's images have 500
_IMAGE_QUALITY, _ERRORS_QUALITY = 68, 55
_CHIPS = 6  # classes below an image
_SMALLEST = 0.003  # least fraction of the image of a class that is only predicted
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


class PageImage(NamedTuple):
    """An image of a card as a data URI, with its original size."""

    title: str
    uri: str
    alt: str
    width: int
    height: int


class Chip(NamedTuple):
    """A class in an image; `where`: empty, `false negative` or `false positive`."""

    name: str
    colour: str
    where: str


class Card(NamedTuple):
    """An image with its metrics."""

    id: str
    headline: str
    facts: tuple[str, ...]
    images: tuple[PageImage, ...] = ()
    chips: tuple[Chip, ...] = ()
    more: int = 0  # classes without a chip
    box: tuple[float, float, float, float] | None = None  # left, top, width, height in per cent


class Gallery(NamedTuple):
    """Cards under a title."""

    title: str
    explanation: str
    cards: tuple[Card, ...]


Shown = tuple[tuple[PageImage, ...], tuple[Chip, ...], int]  # the last fields of a card but its box


class ImageMetrics(NamedTuple):
    """Mean IoU over its classes, pixel accuracy and most frequent confusion of an image."""

    id: str
    mean_iou: float
    accuracy: float
    confusion: tuple[str, str, float] | None  # true class, predicted class, fraction of the labelled pixels


def ranked_images(scores: PerImageConfusion) -> list[ImageMetrics]:
    """Metrics of the images with labelled pixels, the worst first."""
    pairs = zip(scores.ids, scores.matrices, strict=True)
    found = [_metrics(id, matrix, scores.classes) for id, matrix in pairs if matrix.any()]
    return sorted(found, key=lambda each: (each.mean_iou, each.id))


def _metrics(id: str, matrix: Counts, classes: Sequence[str]) -> ImageMetrics:
    hits, true, predicted = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    there = true > 0
    iou = hits[there] / (true + predicted - hits)[there]
    pixels = int(matrix.sum())
    wrong = matrix - np.diag(hits)
    row, column = divmod(int(wrong.argmax()), len(matrix))
    most = int(wrong[row, column])
    confusion = (classes[row], classes[column], most / pixels) if most else None
    return ImageMetrics(id, float(iou.mean()), float(hits.sum() / pixels), confusion)


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
            prediction = _read_prediction(prediction_path(self._folder, id))
        except UserError as error:
            self.missing[id] = error.sentence
            return None
        if not image.shape[:2] == mask.shape == prediction.shape or prediction.max() >= len(self.classes):
            self.missing[id] = f"{self._layout.image(id)}, its mask and its prediction do not fit together"
            return None
        return ImageTriplet(image, self.classes.table[mask], prediction)


def _read_prediction(path: Path) -> Bytes:
    try:
        with Image.open(path) as file:
            if file.mode not in ("P", "L"):
                raise ValueError(f"mode {file.mode}")
            return np.asarray(file, np.uint8)
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except (OSError, ValueError, SyntaxError) as error:
        raise UserError(f"{path} cannot be read ({error})") from error


def mask_uri(mask: Bytes, classes: ClassList) -> str:
    """A mask `[H,W]` in the classes' colours as a data URI."""
    image = Image.fromarray(_small(mask, cv2.INTER_NEAREST_EXACT))
    image.putpalette([channel for colour in classes.palette for channel in colour])
    return _uri(image, "png")


def _errors(triplet: ImageTriplet) -> Bytes:
    masks = (_small(each, cv2.INTER_NEAREST_EXACT) for each in (triplet.truth, triplet.prediction))
    return error_map(_small(triplet.image), *masks)


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


def galleries_of(run: LoadedRun, images: RunImages | None, count: int) -> tuple[Gallery, ...]:
    """The worst, median and best images."""
    if run.images is None or not count:
        return ()
    chosen = worst_median_best(ranked_images(run.images), count)
    with ThreadPoolExecutor() as pool:  # encoding releases the interpreter lock
        return tuple(
            Gallery(*_TITLES[key], tuple(pool.map(_card, found, repeat(images))))
            for key, found in chosen.items()
            if found
        )


def label_error_gallery(run: LoadedRun, images: RunImages | None, count: int) -> Gallery | None:
    """Images with the largest regions of confident disagreement; None without label-error data."""
    if run.label_errors is None or not count:
        return None
    pairs = zip(run.label_errors.ids, map(regions_of, run.label_errors.regions), strict=True)
    found = [(id, regions[0]) for id, regions in pairs if regions]
    found.sort(key=lambda each: (-each[1].weight, each[0]))
    names = run.label_errors.origin.names
    with ThreadPoolExecutor() as pool:
        cards = pool.map(lambda each: _label_error_card(each[0], each[1], names, images), found[:count])
        return Gallery("Label-error candidates", _LABEL_ERRORS, tuple(cards))


def _card(metrics: ImageMetrics, images: RunImages | None) -> Card:
    facts = [f"pixel accuracy {percent(metrics.accuracy)} %"]
    if metrics.confusion is not None:
        true, predicted, share = metrics.confusion
        facts.append(f"most frequent error: {true} predicted as {predicted}, {_area(share)} of the pixels")
    shown = image_card(metrics.id, images)
    return Card(metrics.id, f"mIoU {percent(metrics.mean_iou)} %", tuple(facts), *shown)


def _label_error_card(
    id: str, region: DisagreementRegion, names: Sequence[str], images: RunImages | None
) -> Card:
    headline = f"labelled {names[region.label]}, predicted {names[region.predicted]}"
    fact = f"{_area(region.share)} of the image, mean confidence {percent(region.confidence)} %"
    left, top, right, bottom = (100 * each for each in region[4:])
    shown = image_card(id, images)
    return Card(id, headline, (fact,), *shown, box=(left, top, right - left, bottom - top))


def image_card(
    id: str,
    images: RunImages | None,
    predictions: Callable[[ImageTriplet], Sequence[PageImage]] | None = None,
) -> Shown:
    """Images and classes of a card, or empty; `predictions` replaces prediction and error map."""
    triplet = images.triplet(id) if images is not None else None
    if images is None or triplet is None:
        return (), (), 0
    classes = images.classes
    truth, prediction = (_names(each, classes.names) for each in (triplet.truth, triplet.prediction))
    image = _webp(_small(triplet.image), _IMAGE_QUALITY)
    first = (
        page_image("input", image, f"image {id}", triplet),
        page_image("ground truth", mask_uri(triplet.truth, classes), f"labels: {truth}", triplet),
    )
    rest = predictions(triplet) if predictions else (
        page_image("prediction", mask_uri(triplet.prediction, classes), f"predicted: {prediction}", triplet),
        page_image("errors", _webp(_errors(triplet), _ERRORS_QUALITY), "map of wrong pixels", triplet),
    )  # fmt: skip
    return (*first, *rest), *_chips(triplet, classes)


def page_image(title: str, uri: str, alt: str, triplet: ImageTriplet) -> PageImage:
    """An image of a triplet."""
    height, width = triplet.truth.shape
    return PageImage(title, uri, alt, width, height)


def _chips(triplet: ImageTriplet, classes: ClassList) -> tuple[tuple[Chip, ...], int]:
    """The largest classes except the background, and the number of others."""
    names, palette = classes.names, classes.palette
    counted = (np.bincount(each.ravel(), minlength=256) for each in (triplet.truth, triplet.prediction))
    true, predicted = (counts[:IGNORE_INDEX].tolist() for counts in counted)
    first = int(names[0].casefold() == BACKGROUND)
    there = [k for k in range(first, IGNORE_INDEX) if true[k] + predicted[k]]
    there.sort(key=lambda k: -max(true[k], predicted[k]))
    shown = [k for k in there[:_CHIPS] if true[k] or predicted[k] >= _SMALLEST * triplet.truth.size]
    where = {(True, True): "", (True, False): "false negative", (False, True): "false positive"}
    chips = (Chip(names[k], css(palette[k]), where[true[k] > 0, predicted[k] > 0]) for k in shown)
    return tuple(chips), len(there) - len(shown)


def css(colour: Sequence[int]) -> str:
    """`#rrggbb`."""
    return "#" + "".join(f"{int(channel):02x}" for channel in colour)


def _names(mask: Bytes, names: Sequence[str]) -> str:
    return ", ".join(names[k] for k in np.unique(mask).tolist() if k < len(names)) or "nothing"


def _area(share: float) -> str:
    return f"{percent(share, 1 if share >= 0.0095 else 2)} %"
