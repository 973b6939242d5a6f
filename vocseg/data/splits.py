"""Splits: lists of ids with their image and mask files."""

import hashlib
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict

import numpy as np

from vocseg.data.classes import VOC_CLASSES, ClassList
from vocseg.data.voc import Layout, split_ids, split_list
from vocseg.errors import UserError, shown


class SplitFacts(TypedDict):
    """Description of the images behind a score."""

    split: str
    images: int
    fingerprint: str
    size: int


@dataclass(frozen=True)
class Split:
    """A list of images, or a subset of one.

    Attributes:
        layout: Of its files.
        name: Of the list.
        ids: The images in use, in the list's order.
        rows: Their positions in the complete list.
        classes: Of the masks.
        listed: The complete list; None: `ids` is complete.
    """

    layout: Layout
    name: str
    ids: tuple[str, ...]
    rows: tuple[int, ...]
    classes: ClassList = VOC_CLASSES
    listed: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def paths(self, index: int) -> tuple[Path, Path]:
        """Return the image and the mask file of a position."""
        return self.layout.image(self.ids[index]), self.layout.mask(self.ids[index], self.name)

    def whole(self) -> "Split":
        """Return the complete list."""
        if self.listed is None:
            return self
        return replace(self, ids=self.listed, rows=tuple(range(len(self.listed))), listed=None)

    def part(self, images: int | None, seed: int, flag: str) -> "Split":
        """Return a random subset of a number of images (None: all), in the list's order.

        Raises:
            UserError: If there are fewer images than `flag` asks for.
        """
        if images is None:
            return self
        if images > len(self):
            raise UserError(
                f"'{self.name}' has {len(self)} images, but --data.{flag} asks for {images}: "
                f"use --data.{flag} {len(self)}, or null for all"
            )
        chosen = sorted(np.random.default_rng(seed).permutation(len(self))[:images].tolist())
        ids, rows = tuple(self.ids[k] for k in chosen), tuple(self.rows[k] for k in chosen)
        return replace(self, ids=ids, rows=rows, listed=self.listed or self.ids)


def read_split(layout: Layout, name: str, classes: ClassList = VOC_CLASSES) -> Split:
    """Read a list; without one, the split is the sub-folder of the images with its name.

    Raises:
        UserError: If there is neither, or the list is empty or has an id twice.
    """
    folder = layout.folder / layout.image_folder
    listed = split_list(layout.folder, name)
    if Path(name).name == name and not os.path.isfile(listed) and os.path.isdir(folder / name):
        return _split(layout, name, _paired(layout, name, name), classes)
    if not os.path.isdir(split_list(layout.folder, "train").parent):
        raise UserError(
            f"there is no split '{shown(name)}': {layout.folder} has no lists (ImageSets/Segmentation), and "
            f"{folder} no folder {shown(name)}: split the images with --data.val_fraction 0.2, or name "
            "folders with --data.train_split and --data.val_split"
        )
    return _split(layout, name, split_ids(layout.folder, name), classes)


def divide(
    layout: Layout, names: tuple[str, str], fraction: float, seed: int, classes: ClassList = VOC_CLASSES
) -> tuple[Split, Split]:
    """Divide a list, or without one all pairs of image and mask, into training and validation images.

    The choice depends on the ids and the seed, and hardly on the other images. `names` are those of the list,
    which becomes the training split, and of the validation split.

    Raises:
        UserError: If there are fewer than two pairs.
    """
    listed = os.path.isfile(split_list(layout.folder, names[0]))
    ids = split_ids(layout.folder, names[0]) if listed else _paired(layout, names[0])
    if len(ids) < 2:
        raise UserError(
            f"--data.val_fraction {fraction}: {layout.folder} has {len(ids)} pair of image and mask, and a "
            "split needs 2"
        )
    validation = held_out(ids, fraction, seed)
    parts = [id for id in ids if id not in validation], [id for id in ids if id in validation]
    train, val = (_split(layout, name, part, classes) for name, part in zip(names, parts, strict=True))
    return train, val


def held_out(ids: Sequence[str], fraction: float, seed: int) -> set[str]:
    """Choose validation ids by their hash and the seed: at least one, and never all."""
    drawn = sorted(ids, key=lambda id: hashlib.sha256(f"{seed} {id}".encode()).digest())
    return set(drawn[: min(max(round(fraction * len(ids)), 1), len(ids) - 1)])


def _paired(layout: Layout, name: str, within: str = "") -> list[str]:
    """Ids of the images that have a mask; raises if there are none."""
    ids, without_mask = layout.pairs(name, within)
    images = layout.folder / layout.image_folder / within
    if not ids:
        masks = layout.folder / layout.masks_of(name) / within
        raise UserError(
            f"there is no pair of image and mask: of the {without_mask} images in {images} none has a mask "
            f"ID{layout.mask_suffix} in {masks}: name the folder and the ending of the masks with "
            "--data.mask_folder and --data.mask_suffix"
        )
    if without_mask:
        warnings.warn(
            f"vocseg: {without_mask} images in {images} have no mask and are left out", stacklevel=2
        )
    return ids


def _split(layout: Layout, name: str, ids: Sequence[str], classes: ClassList) -> Split:
    return Split(layout, name, tuple(ids), tuple(range(len(ids))), classes)
