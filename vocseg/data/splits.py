"""Which images a split holds, or a seeded part of them, and what a score must say of them."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict

import numpy as np

from vocseg.classes import VOC_CLASSES, ClassList
from vocseg.errors import UserError
from vocseg.voc import Layout, split_ids


class SplitFacts(TypedDict):
    """What a score must say about the images behind it."""

    split: str
    images: int
    fingerprint: str
    size: int


@dataclass(frozen=True)
class Split:
    """A list of images, or a part of one.

    Attributes:
        layout: Where its files lie.
        name: Of the list.
        ids: The images in use, in the list's order.
        rows: Their positions in the whole list.
        classes: What the masks hold.
    """

    layout: Layout
    name: str
    ids: tuple[str, ...]
    rows: tuple[int, ...]
    classes: ClassList = VOC_CLASSES

    def __len__(self) -> int:
        return len(self.ids)

    def paths(self, index: int) -> tuple[Path, Path]:
        """The image and the mask file of a position."""
        return self.layout.image(self.ids[index]), self.layout.mask(self.ids[index], self.name)

    def whole(self) -> "Split":
        """The whole list."""
        return read_split(self.layout, self.name, self.classes)

    def part(self, images: int | None, seed: int, flag: str) -> "Split":
        """A random part, in the list's order.

        Args:
            images: Its size; None: all.
            seed: Chooses it.
            flag: The option that asked for it, to be named if it asks for too many.

        Raises:
            UserError: If there are fewer.
        """
        if images is None:
            return self
        if images > len(self):
            raise UserError(
                f"'{self.name}' has {len(self)} images, but --data.{flag} asks for {images}: "
                f"use --data.{flag} {len(self)}, or null for all"
            )
        chosen = sorted(np.random.default_rng(seed).permutation(len(self))[:images].tolist())
        return replace(self, ids=tuple(self.ids[k] for k in chosen), rows=tuple(self.rows[k] for k in chosen))


def read_split(layout: Layout, name: str, classes: ClassList = VOC_CLASSES) -> Split:
    """A whole list.

    Raises:
        UserError: If there is no such list, or it is empty or names an image twice.
    """
    ids = split_ids(layout.folder, name)
    return Split(layout, name, tuple(ids), tuple(range(len(ids))), classes)
