"""Comparison of two runs on the page."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from vocseg.commands.compare import read_groups
from vocseg.errors import UserError
from vocseg.metrics.paired_test import Comparison, ImageChange, compare_groups
from vocseg.metrics.run_groups import check_comparable
from vocseg.report.images import ImageTriplet, RunImages, image_card, mask_uri, page_image
from vocseg.report.load_run import LoadedRun
from vocseg.report.page_parts import Card, ComparisonView, Gallery, PageImage
from vocseg.visualization.difference_tables import caption, verdict
from vocseg.visualization.formatting import percent, points, typographic
from vocseg.visualization.tables import MEASURE_NAMES


class ComparedRun(NamedTuple):
    """Short name of a run, and its images with predictions."""

    letter: str
    images: RunImages | None = None


def comparisons_of(
    names: Sequence[str], sides: Sequence[ComparedRun], count: int, across: Collection[str] = ()
) -> tuple[tuple[ComparisonView, ...], tuple[str, ...]]:
    """Comparisons of the other runs with the first, and a sentence for each that is not possible."""
    found, lacking = [], []
    for name, side in zip(names[1:], sides[1:], strict=True):
        try:
            groups = read_groups([names[0], name])
            check_comparable(groups, across)
        except UserError as error:
            lacking.append(error.sentence)
            continue
        one = compare_groups(groups[0], groups[1], across=across)
        found.append(_view(one, (sides[0], side), count, f"compare-{side.letter}", "on the same images"))
    return tuple(found), tuple(lacking)


def finetuning_of(run: LoadedRun, key: str, count: int) -> ComparisonView | None:
    """Comparison before and after fine-tuning in `scores.json`; None if there is none."""
    if run.comparison is None:
        return None
    sides = ComparedRun("before"), ComparedRun("after")
    return _view(run.comparison, sides, count, f"{key}-changes", "fine-tuning, on the same images")


def _view(
    found: Comparison, sides: tuple[ComparedRun, ComparedRun], count: int, key: str, where: str
) -> ComparisonView:
    first, letter = (side.letter for side in sides)
    intervals = [each.difference for each in found.class_iou.values()]
    ends = [abs(end) for each in intervals for end in (each.low, each.high, each.estimate) if end is not None]
    cards = tuple(_card(each, sides) for each in [each for each in found.images if each.change][:count])
    explanation = "largest change of the image's own mean IoU"
    return ComparisonView(
        key,
        (first, letter),
        where,
        () if found.names == (first, letter) else found.names,
        tuple(dict.fromkeys(found.protocols)),
        verdict(found, letter, first),
        caption(found, seeds=first == "A"),
        {MEASURE_NAMES[name]: each for name, each in found.measures.items()},
        found.class_iou,
        max(ends, default=0.0) or 0.01,
        Gallery("Images with the largest changes", explanation, cards) if cards else None,
    )


def _card(change: ImageChange, sides: tuple[ComparedRun, ComparedRun]) -> Card:
    def predictions(triplet: ImageTriplet) -> list[PageImage]:
        found = []
        for letter, images in sides:
            own = images.triplet(change.id) if images is not None else None
            if images is not None and own is not None:
                uri = mask_uri(own.prediction, images.classes)
                found.append(page_image(f"prediction of {letter}", uri, f"prediction of {letter}", triplet))
        return found

    (first, before), (letter, after) = sides
    fact = f"mIoU of the image: {first} {percent(change.before)} %, {letter} {percent(change.after)} %"
    shown = image_card(change.id, after or before, predictions)
    return Card(change.id, f"{typographic(points(change.change))} points", (fact,), *shown)
