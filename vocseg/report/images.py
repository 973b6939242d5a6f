"""Images of the page."""

import base64
import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from vocseg.constants import IGNORE_INDEX
from vocseg.data import voc
from vocseg.data.classes import ClassList
from vocseg.data.image_io import read_image, read_mask
from vocseg.data.mask_png import save_mask
from vocseg.errors import UserError
from vocseg.metrics.label_errors import DisagreementRegion, LabelErrorData, prediction_path, regions_of
from vocseg.metrics.per_image import Counts, PerImageConfusion
from vocseg.report.load_run import LoadedRun
from vocseg.report.page_parts import Card, Chip, Gallery, PageImage
from vocseg.report.sections import css
from vocseg.visualization.draw import error_map


@dataclass(frozen=True)
class ImageFigures:
    """How one image was predicted.

    Attributes:
        id: Of the image.
        mean_iou: Over the classes that it truly shows.
        accuracy: Share of its labelled pixels that are right.
        confusion: The commonest mistake: true class, predicted class, share of the labelled pixels; None if
            everything is right.
    """

    id: str
    mean_iou: float
    accuracy: float
    confusion: tuple[str, str, float] | None


def image_figures(scores: PerImageConfusion) -> list[ImageFigures]:
    """Each image by itself, the worst first; those without labelled pixels are left out."""
    found = [
        _figures(id, matrix, scores.classes)
        for id, matrix in zip(scores.ids, scores.matrices, strict=True)
        if matrix.any()
    ]
    return sorted(found, key=lambda each: (each.mean_iou, each.id))


def _figures(id: str, matrix: Counts, classes: Sequence[str]) -> ImageFigures:
    hits, true, predicted = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    there = true > 0
    iou = hits[there] / (true + predicted - hits)[there]
    pixels = int(matrix.sum())
    wrong = matrix - np.diag(hits)
    row, column = divmod(int(wrong.argmax()), len(matrix))
    most = int(wrong[row, column])
    confusion = (classes[row], classes[column], most / pixels) if most else None
    return ImageFigures(id, float(iou.mean()), float(hits.sum() / pixels), confusion)


def worst_median_best(ranked: Sequence[ImageFigures], count: int) -> dict[str, list[ImageFigures]]:
    """So many of each, none twice: of few images the middle ones go first to the worst, then to the best."""
    worst = list(ranked[:count])
    best = list(ranked[max(len(worst), len(ranked) - count) :])[::-1]
    between = ranked[len(worst) : len(ranked) - len(best)]
    start = max(0, (len(between) - count) // 2)
    return {"worst": worst, "median": list(between[start : start + count]), "best": best}


@dataclass(frozen=True)
class LabelErrorCandidate:
    """An image whose label the network contradicts, by the region where it does so most."""

    id: str
    region: DisagreementRegion


def suspects(evidence: LabelErrorData, count: int) -> list[LabelErrorCandidate]:
    """The images with the largest regions of sure disagreement."""
    found = [
        LabelErrorCandidate(id, regions[0])
        for id, regions in zip(evidence.ids, map(regions_of, evidence.regions), strict=True)
        if regions
    ]
    return sorted(found, key=lambda each: (-each.region.weight, each.id))[:count]


Bytes = npt.NDArray[np.uint8]

EDGE = 400  # pixels of the longer side; VOC's pictures have 500
_PHOTO_QUALITY, _ERRORS_QUALITY = 68, 55


@dataclass(frozen=True)
class ImageTriplet:
    """One image as its run saw it, all at its own size: RGB `[H,W,3]`, classes `[H,W]` twice."""

    image: Bytes
    truth: Bytes
    prediction: Bytes


class Pictures:
    """What can be shown of a run's images."""

    def __init__(self, evidence: LabelErrorData, folder: Path, root: Path | None) -> None:
        """Find the data.

        Args:
            evidence: Of the run.
            folder: Of the run.
            root: Where the data lies now; None: where it lay.

        Raises:
            UserError: If it is not where the user says.
        """
        origin = evidence.origin
        self._folder, self._split = folder, origin.split
        self.classes = ClassList(origin.names, origin.colours, origin.values, origin.void, origin.coloured)
        self._layout = voc.Layout(
            _find(evidence, root),
            origin.image_folder,
            origin.image_suffix,
            origin.mask_folder,
            origin.mask_suffix,
        )
        self.missing: dict[str, str] = {}  # why an image cannot be shown, by its id

    def scene(self, id: str) -> ImageTriplet | None:
        """An image with its mask and prediction; None, and a reason in `missing`, if a file is not there."""
        try:
            image = read_image(self._layout.image(id))
            mask = read_mask(self._layout.mask(id, self._split), self.classes)
            prediction = _read_prediction(prediction_path(self._folder, id))
        except UserError as fault:
            self.missing[id] = fault.sentence
            return None
        if not image.shape[:2] == mask.shape == prediction.shape or prediction.max() >= len(self.classes):
            self.missing[id] = f"{self._layout.image(id)}, its mask and its prediction do not fit together"
            return None
        return ImageTriplet(image, self.classes.table[mask], prediction)

    @property
    def place(self) -> Path:
        """Where photographs are looked for."""
        return self._layout.folder


def _find(evidence: LabelErrorData, root: Path | None) -> Path:
    if root is None:
        return Path(evidence.origin.folder)
    folder = voc.find_set(root, evidence.origin.image_folder)
    if folder is None:
        raise UserError(f"--root {root}: there is no data set below it; name the folder that --data.root was")
    return folder


def _read_prediction(path: Path) -> Bytes:
    try:
        with Image.open(path) as picture:
            if picture.mode not in ("P", "L"):
                raise ValueError(f"mode {picture.mode}")
            return np.asarray(picture, np.uint8)
    except FileNotFoundError:
        raise UserError(f"{path} is missing") from None
    except (OSError, ValueError, SyntaxError) as fault:
        raise UserError(f"{path} cannot be read ({fault})") from fault


def photo_uri(image: Bytes) -> str:
    """A photograph `[H,W,3]` as a data URI."""
    return _webp(_small(image, cv2.INTER_AREA), _PHOTO_QUALITY)


def errors_uri(scene: ImageTriplet) -> str:
    """The map of a prediction's errors as a data URI."""
    small = [_small(each, cv2.INTER_NEAREST_EXACT) for each in (scene.truth, scene.prediction)]
    return _webp(error_map(_small(scene.image, cv2.INTER_AREA), *small), _ERRORS_QUALITY)


def mask_uri(mask: Bytes, classes: ClassList) -> str:
    """Classes `[H,W]` in their colours as a data URI."""
    file = io.BytesIO()
    save_mask(_small(mask, cv2.INTER_NEAREST_EXACT), file, classes.palette)
    return _uri("png", file)


def _small(pixels: Bytes, way: int) -> Bytes:
    height, width = pixels.shape[:2]
    scale = EDGE / max(height, width)
    if scale >= 1:
        return pixels
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return np.asarray(cv2.resize(pixels, size, interpolation=way), np.uint8)


def _webp(pixels: Bytes, quality: int) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "WEBP", quality=quality, method=3)
    return _uri("webp", file)


def _uri(kind: str, file: io.BytesIO) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


_CHIPS = 6  # classes named under an image
_SMALLEST = 0.003  # share of the picture from which a class that is only predicted is named

Shown = tuple[tuple[PageImage, ...], tuple[Chip, ...], int]  # the last three fields of a card but its box

_TITLES = {
    "worst": ("Worst images", "lowest mean IoU over the classes that the image truly shows"),
    "median": ("Images in the middle", "what is to be expected of a usual image"),
    "best": ("Best images", "highest mean IoU over the classes that the image truly shows"),
}


def galleries_of(run: LoadedRun, pictures: Pictures | None, count: int) -> tuple[Gallery, ...]:
    """The worst, the middle, the best."""
    if run.images is None or not count:
        return ()
    chosen = worst_median_best(image_figures(run.images), count)
    with ThreadPoolExecutor() as pool:  # encoding pictures leaves the interpreter free
        return tuple(
            Gallery(key, *_TITLES[key], tuple(pool.map(_card, found, repeat(pictures))))
            for key, found in chosen.items()
            if found
        )


def suspects_of(run: LoadedRun, pictures: Pictures | None, count: int) -> Gallery | None:
    """Labels that the network contradicts and is sure."""
    if run.evidence is None or not count:
        return None
    names = run.evidence.origin.names
    chosen = suspects(run.evidence, count)
    with ThreadPoolExecutor() as pool:
        cards = tuple(pool.map(_suspect_card, chosen, repeat(names), repeat(pictures)))
    return Gallery("suspects", "Label suspects", "", cards)


def _card(figures: ImageFigures, pictures: Pictures | None) -> Card:
    facts = [f"{_percent(figures.accuracy)} of the labelled pixels are right"]
    if figures.confusion is not None:
        true, said, share = figures.confusion
        facts.append(f"mostly {true} taken for {said}: {_percent(share)} of the image")
    shown = scene_card(figures.id, pictures)
    return Card(figures.id, f"mIoU {_percent(figures.mean_iou)}", tuple(facts), *shown)


def _suspect_card(suspect: LabelErrorCandidate, names: Sequence[str], pictures: Pictures | None) -> Card:
    region = suspect.region
    headline = f"labelled {names[region.label]}, predicted {names[region.predicted]}"
    fact = f"{_percent(region.share)} of the picture; the network is {_percent(region.confidence)} sure there"
    left, top, right, bottom = (100 * each for each in region[4:])
    shown = scene_card(suspect.id, pictures)
    return Card(suspect.id, headline, (fact,), *shown, box=(left, top, right - left, bottom - top))


def scene_card(
    id: str, pictures: Pictures | None, further: Callable[[ImageTriplet], Sequence[PageImage]] | None = None
) -> Shown:
    """The pictures of an image and the classes in them; empty if it cannot be shown.

    Args:
        id: Of the image.
        pictures: Where to get them.
        further: What stands in place of prediction and errors.
    """
    scene = pictures.scene(id) if pictures is not None else None
    if pictures is None or scene is None:
        return (), (), 0
    classes = pictures.classes
    truth, prediction = (_named(each, classes.names) for each in (scene.truth, scene.prediction))
    first = (
        picture("input", photo_uri(scene.image), f"photograph {id}", scene),
        picture("truth", mask_uri(scene.truth, classes), f"labels: {truth}", scene),
    )
    rest = further(scene) if further else (
        picture("prediction", mask_uri(scene.prediction, classes), f"predicted: {prediction}", scene),
        picture("errors", errors_uri(scene), "map of wrong pixels on the dimmed photograph", scene),
    )  # fmt: skip
    return (*first, *rest), *_chips(scene, pictures)


def picture(title: str, uri: str, alt: str, scene: ImageTriplet) -> PageImage:
    """A picture of a scene, with the size that its place on the page is kept by."""
    height, width = scene.truth.shape
    return PageImage(title, uri, alt, width, height)


def _chips(scene: ImageTriplet, pictures: Pictures) -> tuple[tuple[Chip, ...], int]:
    """The largest classes but the background, and how many more there are."""
    counted = (np.bincount(each.ravel(), minlength=256) for each in (scene.truth, scene.prediction))
    true, said = (counts[:IGNORE_INDEX].tolist() for counts in counted)
    names, palette = pictures.classes.names, pictures.classes.palette
    largest = sorted(range(IGNORE_INDEX), key=lambda k: -max(true[k], said[k]))
    there = [k for k in largest if true[k] + said[k] and not (k == 0 and names[0].casefold() == "background")]
    kept = [k for k in there[:_CHIPS] if max(true[k], said[k]) >= _SMALLEST * scene.truth.size or true[k]]
    places = {(True, True): "", (True, False): "missed", (False, True): "only predicted"}
    chips = (Chip(names[k], css(palette[k]), places[true[k] > 0, said[k] > 0]) for k in kept)
    return tuple(chips), len(there) - len(kept)


def _named(mask: Bytes, names: Sequence[str]) -> str:
    return ", ".join(names[k] for k in np.unique(mask).tolist() if k < len(names)) or "nothing"


def _percent(share: float) -> str:
    digits = 1 if share >= 0.0095 or share == 0 else 2
    return f"{100 * share:.{digits}f} %"
