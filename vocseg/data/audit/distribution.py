"""How often each class occurs in a list, and which data the list stands for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from vocseg.classes import ClassList
from vocseg.data.audit.findings import Finding, some
from vocseg.data.audit.lists import SplitList
from vocseg.data.audit.seen import Seen
from vocseg.data.audit.survey import Survey
from vocseg.data.contents import fingerprint
from vocseg.data.labels import VOID_SHARE
from vocseg.voc import IGNORE_INDEX, Layout


@dataclass(frozen=True)
class Distribution:
    """What a list holds.

    Attributes:
        split: Its name.
        images: How many it names.
        fingerprint: Over ids and decoded content; None while a file of it cannot be decoded.
        pixels: By class, then void: how many pixels of all masks.
        images_with: By class, then void: in how many masks it occurs.
    """

    split: str
    images: int
    fingerprint: str | None
    pixels: tuple[int, ...]
    images_with: tuple[int, ...]

    @property
    def shares(self) -> list[float]:
        """By class, 0..1: the share of the pixels that are not void."""
        known = max(sum(self.pixels[:-1]), 1)
        return [count / known for count in self.pixels[:-1]]


def distribution(each: SplitList, seen: Survey, layout: Layout, classes: ClassList) -> Distribution:
    """Count what the masks of a list hold, and take its fingerprint.

    Args:
        each: The list.
        seen: Its files.
        layout: Where they lie.
        classes: What the values of the masks mean.
    """
    masks = [seen.masks.get(layout.name(layout.mask(id, each.split))) for id in each.ids]
    counts = np.zeros((len(masks), len(classes) + 1), np.int64)
    for row, mask in zip(counts, masks, strict=True):
        if mask is not None and mask.counts is not None:
            row += _by_class(mask.counts, classes)
    return Distribution(
        each.split,
        len(each.ids),
        _fingerprint(each.ids, seen.images, masks),
        tuple(counts.sum(0).tolist()),
        tuple((counts > 0).sum(0).tolist()),
    )


def _by_class(counts: npt.NDArray[np.int64], classes: ClassList) -> npt.NDArray[np.int64]:
    """Values to classes, with void behind them; values that mean nothing are in neither."""
    known = np.where(classes.known, counts, 0)
    sums = np.bincount(classes.table, weights=known, minlength=IGNORE_INDEX + 1).astype(np.int64)
    return np.concatenate([sums[: len(classes)], sums[IGNORE_INDEX:]])


def _fingerprint(ids: Sequence[str], images: Mapping[str, Seen], masks: Sequence[Seen | None]) -> str | None:
    pixels = []
    for id, mask in zip(ids, masks, strict=True):
        image = images.get(id)
        if image is None or image.content is None or mask is None or mask.content is None:
            return None
        pixels.append((image.content.pixels, mask.content.pixels))
    return fingerprint(ids, pixels) if pixels else None


def examine_classes(each: SplitList, found: Distribution, classes: ClassList) -> list[Finding]:
    """What is wrong with the classes that the masks of a list show.

    Args:
        each: The list.
        found: What it holds.
        classes: What the values of the masks mean.
    """
    void, counts = found.pixels[-1], found.pixels[:-1]
    if not sum(found.pixels):
        return []
    absent = [f"'{name}'" for name, number in zip(classes.names, counts, strict=True) if not number]
    if not any(counts[1:]):
        value = f"if {IGNORE_INDEX} means a class, use --data.mask_values '[0, {IGNORE_INDEX}]'"
        other = "name other masks with --data.mask_folder, or other classes with --data.classes"
        alone = f"{classes.names[0]}{' and void' if void else ''} alone"
        text = f"its masks show {alone}: {value if void else other}"
        return [Finding(each.file, "list-one-class", text)]
    findings = []
    if absent:
        text = f"no mask shows {some(absent)}: correct the list with --data.classes, if that is not meant"
        findings.append(Finding(each.file, "list-absent-class", text))
    if void > VOID_SHARE * sum(found.pixels):
        text = (
            f"{void / sum(found.pixels):.0%} of the pixels are void ({IGNORE_INDEX}): if that is a class, "
            "give it its value with --data.mask_values"
        )
        findings.append(Finding(each.file, "list-void", text))
    return findings
