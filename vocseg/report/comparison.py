"""Comparison of two runs on the page."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from vocseg.commands.compare import read_groups
from vocseg.errors import UserError
from vocseg.metrics.paired_test import Comparison, Difference, ImageChange, compare_groups
from vocseg.metrics.run_groups import check_comparable
from vocseg.report.images import ImageTriplet, Pictures, mask_uri, picture, scene_card
from vocseg.report.load_run import LoadedRun
from vocseg.report.page import points
from vocseg.report.page_parts import Card, ComparisonView, DifferenceRow, Gallery, PageImage
from vocseg.visualization.difference_tables import caption, verdict
from vocseg.visualization.tables import MEASURE_NAMES

_EXPLANATION = "largest change of the image's own mean IoU"


@dataclass(frozen=True)
class ComparedRun:
    """One of the two that are compared: what the page calls it, and pictures of what it predicted."""

    letter: str
    pictures: Pictures | None = None


def comparisons_of(
    names: Sequence[str], sides: Sequence[ComparedRun], count: int, across: Collection[str] = ()
) -> tuple[tuple[ComparisonView, ...], tuple[str, ...]]:
    """Each of the others compared with the first.

    Args:
        names: What the user calls them, seeds joined by commas.
        sides: What the page calls them, with their pictures.
        count: How many changed images to show.
        across: Ways of predicting in which they may differ.

    Returns:
        The comparisons, and a sentence for each that there cannot be.
    """
    found, lacking = [], []
    for name, side in zip(names[1:], sides[1:], strict=True):
        try:
            groups = read_groups([names[0], name])
            check_comparable(groups, across)
        except UserError as fault:
            lacking.append(fault.sentence)
            continue
        one = compare_groups(groups[0], groups[1], across=across)
        found.append(_view(one, (sides[0], side), count, f"compare-{side.letter}", "on the same images"))
    return tuple(found), tuple(lacking)


def finetuning_of(run: LoadedRun, key: str, count: int) -> ComparisonView | None:
    """What fine-tuning changed, as the run itself has written it; None: it did not fine-tune.

    Args:
        run: What was read.
        key: Begins the section's anchor.
        count: How many changed images to show.
    """
    if run.comparison is None:
        return None
    sides = ComparedRun("before"), ComparedRun("after")
    return _view(run.comparison, sides, count, f"{key}-changes", "fine-tuning, on the same images")


def _view(
    found: Comparison, sides: tuple[ComparedRun, ComparedRun], count: int, key: str, where: str
) -> ComparisonView:
    first, letter = (side.letter for side in sides)
    classes = _rows(found.class_iou, {name: name for name in found.class_iou})
    ends = [abs(end) for row in classes for end in (row.low, row.high, row.change) if end is not None]
    cards = tuple(_card(each, sides) for each in [each for each in found.images if each.change][:count])
    gallery = Gallery(f"changes-{letter}", "Images that changed most", _EXPLANATION, cards)
    return ComparisonView(
        key,
        (first, letter),
        where,
        () if found.names == (first, letter) else found.names,
        tuple(dict.fromkeys(map(str, found.protocols))),
        verdict(found, letter, first),
        caption(found, seeds=first == "A"),
        _rows(found.measures, MEASURE_NAMES),
        classes,
        max(ends, default=0.0) or 0.01,
        gallery if cards else None,
    )


def _rows(figures: Mapping[str, Difference], names: Mapping[str, str]) -> tuple[DifferenceRow, ...]:
    return tuple(
        DifferenceRow(
            names[name],
            each.before,
            each.after,
            each.difference.estimate,
            each.difference.low,
            each.difference.high,
            each.better,
            each.clear,
        )
        for name, each in figures.items()
    )


def _card(change: ImageChange, sides: tuple[ComparedRun, ComparedRun]) -> Card:
    def further(scene: ImageTriplet) -> list[PageImage]:
        """What both predict."""
        found = []
        for side in sides:
            mine = side.pictures.scene(change.id) if side.pictures is not None else None
            if side.pictures is not None and mine is not None:
                uri = mask_uri(mine.prediction, side.pictures.classes)
                found.append(picture(f"{side.letter} predicts", uri, f"prediction of {side.letter}", scene))
        return found

    shown = scene_card(change.id, sides[1].pictures or sides[0].pictures, further)
    first, letter = (side.letter for side in sides)
    facts = (f"mIoU of the image: {first} {100 * change.before:.1f} %, {letter} {100 * change.after:.1f} %",)
    return Card(change.id, f"{points(change.change)} points", facts, *shown)
