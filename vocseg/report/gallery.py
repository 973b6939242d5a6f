"""Images as cards: the photograph, truth, prediction and errors, with what is to be said of them."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import numpy as np

from vocseg.report.choice import ImageFigures, Suspect, image_figures, suspects, worst_median_best
from vocseg.report.pictures import Bytes, Pictures, Scene, errors_uri, mask_uri, photo_uri
from vocseg.report.recorded import RecordedRun
from vocseg.report.showing import css
from vocseg.views.report.parts import Card, Chip, Gallery, Picture
from vocseg.voc import IGNORE_INDEX

_CHIPS = 6  # classes named under an image
_SMALLEST = 0.003  # share of the picture from which a class that is only predicted is named

Shown = tuple[tuple[Picture, ...], tuple[Chip, ...], int]  # the last three fields of a card but its box

_TITLES = {
    "worst": ("Worst images", "lowest mean IoU over the classes that the image truly shows"),
    "median": ("Images in the middle", "what is to be expected of a usual image"),
    "best": ("Best images", "highest mean IoU over the classes that the image truly shows"),
}


def galleries_of(run: RecordedRun, pictures: Pictures | None, count: int) -> tuple[Gallery, ...]:
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


def suspects_of(run: RecordedRun, pictures: Pictures | None, count: int) -> Gallery | None:
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


def _suspect_card(suspect: Suspect, names: Sequence[str], pictures: Pictures | None) -> Card:
    region = suspect.region
    headline = f"labelled {names[region.label]}, predicted {names[region.predicted]}"
    fact = f"{_percent(region.share)} of the picture; the network is {_percent(region.confidence)} sure there"
    left, top, right, bottom = (100 * each for each in region[4:])
    shown = scene_card(suspect.id, pictures)
    return Card(suspect.id, headline, (fact,), *shown, box=(left, top, right - left, bottom - top))


def scene_card(
    id: str, pictures: Pictures | None, further: Callable[[Scene], Sequence[Picture]] | None = None
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


def picture(title: str, uri: str, alt: str, scene: Scene) -> Picture:
    """A picture of a scene, with the size that its place on the page is kept by."""
    height, width = scene.truth.shape
    return Picture(title, uri, alt, width, height)


def _chips(scene: Scene, pictures: Pictures) -> tuple[tuple[Chip, ...], int]:
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
