"""Runs against the first of them."""

from collections.abc import Mapping, Sequence

from vocseg.compare import read_groups
from vocseg.report.gallery import picture, scene_card
from vocseg.report.pictures import Pictures, Scene, mask_uri
from vocseg.scores.changes import ImageChange
from vocseg.scores.comparison import Comparison, Difference, compare_groups
from vocseg.scores.groups import check_comparable
from vocseg.views.differences import caption, verdict
from vocseg.views.intervals import MEASURE_NAMES
from vocseg.views.report import points
from vocseg.views.report.contents import ComparisonView, DifferenceRow
from vocseg.views.report.parts import Card, Gallery, Picture

_EXPLANATION = "largest change of the image's own mean IoU"


def comparisons_of(
    names: Sequence[str], letters: Sequence[str], pictures: Sequence[Pictures | None], count: int
) -> tuple[ComparisonView, ...]:
    """Each of the others compared with the first.

    Args:
        names: What the user calls them, seeds joined by commas.
        letters: What the page calls them.
        pictures: Of each.
        count: How many changed images to show.

    Raises:
        UserError: If they cannot be compared.
    """
    groups = read_groups(names)
    check_comparable(groups)
    return tuple(
        _view(compare_groups(groups[0], groups[k]), letters[k], (pictures[0], pictures[k]), count)
        for k in range(1, len(groups))
    )


def _view(
    found: Comparison, letter: str, pictures: tuple[Pictures | None, Pictures | None], count: int
) -> ComparisonView:
    classes = _rows(found.class_iou, {name: name for name in found.class_iou})
    ends = [abs(end) for row in classes for end in (row.low, row.high, row.change) if end is not None]
    changed = [each for each in found.images if each.change][:count]
    cards = tuple(_card(each, letter, pictures) for each in changed)
    gallery = Gallery(f"changes-{letter}", "Images that changed most", _EXPLANATION, cards)
    return ComparisonView(
        f"compare-{letter}",
        letter,
        found.names,
        verdict(found, letter),
        caption(found),
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


def _card(change: ImageChange, letter: str, pictures: tuple[Pictures | None, Pictures | None]) -> Card:
    def further(scene: Scene) -> list[Picture]:
        """What A and the other predict."""
        found = []
        for name, each in zip(("A", letter), pictures, strict=True):
            mine = each.scene(change.id) if each is not None else None
            if each is not None and mine is not None:
                uri = mask_uri(mine.prediction, each.classes)
                found.append(picture(f"{name} predicts", uri, f"prediction of {name}", scene))
        return found

    shown = scene_card(change.id, pictures[1], further)
    facts = (f"mIoU of the image: A {100 * change.before:.1f} %, {letter} {100 * change.after:.1f} %",)
    return Card(change.id, f"{points(change.change)} points", facts, *shown)
